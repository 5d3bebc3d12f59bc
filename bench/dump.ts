import { fileURLToPath } from "node:url";
import { terminalOn } from "../src/cli/output.ts";
import { runCommandLine } from "../src/cli/run.ts";
import type { Benchmark } from "./benchmark.ts";

const GUEST = fileURLToPath(new URL("../src/samples/guest-a1", import.meta.url));
const ARGUMENTS = ["dump", GUEST, "--process", "thp-child", "--lines", "all"];

/** The command itself: opens the image, checks its tables, lists the whole address space, the kernel's half included. */
export const dumpBenchmark: Benchmark = {
  name: "dump",
  operation: "ptescope dump of one process of guest-a1, kernel half included",
  reference: null,
  rejectedFor: null,
  prepare() {
    return {
      operations: 1,
      async run() {
        let length = 0;
        const terminal = terminalOn({
          output: (text) => {
            length += text.length;
            return Promise.resolve();
          },
          errors: (line) => {
            throw new RangeError(line);
          },
          colours: false,
          live: false,
        });
        if ((await runCommandLine(ARGUMENTS, terminal)) !== 0) throw new RangeError("dump failed");
        return length;
      },
    };
  },
};
