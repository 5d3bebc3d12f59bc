import { runInput, type Trial } from "./execute.ts";
import { loadCommands } from "./inputs.ts";
import { runProgram } from "./program.ts";

/* Runs the inputs that it is told to, one after the other, in this process or in one each. */

/** What a worker is asked for. */
export interface Order {
  readonly seed: number;
  readonly number: number;
  /** The program to start; null to run the command here. */
  readonly program: string | null;
}

/** What it answers, after it has said what it runs. */
export interface Answer {
  readonly trial: Trial;
  /** Most memory that this process, or the program, has had: MiB. */
  readonly memory: number;
  /** Seconds of CPU that this process has had. */
  readonly cpu: number;
}

const MEBIBYTE = 1024;
const commands = await loadCommands();

process.on("message", async ({ seed, number, program }: Order) => {
  const begin = (what: string): void => void process.send!(what);
  const { trial, memory } =
    program === null
      ? {
          trial: await runInput(seed, number, commands, begin),
          memory: process.resourceUsage().maxRSS / MEBIBYTE,
        }
      : await runProgram(seed, number, commands, program, begin);
  const { user, system } = process.cpuUsage();
  process.send!({ trial, memory, cpu: (user + system) / 1e6 } satisfies Answer);
});
