import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("./reference/mmu.c", import.meta.url));
const COMPILERS = ["cc", "gcc", "clang"] as const;
const FLAGS = ["-O2", "-std=gnu11"] as const;

/** The reference program, ready to run. */
export interface Reference {
  readonly program: string;
  /** The compiler's first line about itself, and the flags. */
  readonly compiler: string;
  remove(): void;
}

/** Compiles the reference with the first C compiler that is there; null when there is none. Throws when it fails. */
export function compileReference(): Reference | null {
  for (const name of COMPILERS) {
    const asked = spawnSync(name, ["--version"], { encoding: "utf8" });
    if (asked.status !== 0) continue;
    const directory = mkdtempSync(join(tmpdir(), "ptescope-bench-"));
    const remove = (): void => rmSync(directory, { recursive: true, force: true });
    const program = join(directory, "mmu");
    const built = spawnSync(name, [...FLAGS, "-o", program, SOURCE], { encoding: "utf8" });
    if (built.status !== 0) {
      remove();
      throw new Error(`${name} does not compile ${SOURCE}: ${built.stderr}`);
    }
    return { program, compiler: `${asked.stdout.split("\n")[0]!.trim()}, ${FLAGS[0]}`, remove };
  }
  return null;
}

/** One sample by the reference. */
export interface ReferenceSample {
  readonly nsPerOp: number;
  /** As {@link Workload.run} returns it, taken modulo 2^32. */
  readonly checksum: number;
}

/** The reference program while it runs; between two samples it waits for input and takes no time. */
export class ReferenceProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(program: string) {
    const child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** The work of that name, `passes` times. Throws when the program ends. */
  async sample(name: string, passes: number): Promise<ReferenceSample> {
    this.#child.stdin?.write(`${name} ${passes}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`the reference program ended at ${name}`);
    return JSON.parse(value) as ReferenceSample;
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end();
    if (this.#child.exitCode === null) await once(this.#child, "exit");
  }
}
