import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { PAGE_SIZE } from "../arch/x86/cpu/address.ts";
import { xorshift32 } from "../arch/x86/cpu/xorshift32.ts";
import { terminalOn } from "../src/cli/output.ts";
import { runCommandLine } from "../src/cli/run.ts";
import type { Benchmark } from "./benchmark.ts";

const GUEST = fileURLToPath(new URL("../src/samples/guest-a1", import.meta.url));
const ARGUMENTS = ["dump", GUEST, "--process", "thp-child", "--lines", "all"];

/** Pages of the scattered address space, and the tables above them: a root, a PDPT, two PDs, page tables. */
const PAGES = 2 ** 20;
const PAGE_TABLES = PAGES / 512;
const DIRECTORIES = PAGE_TABLES / 512;
const ROOT = 1;
const PDPT = 2;
const FIRST_DIRECTORY = 3;
const FIRST_PAGE_TABLE = FIRST_DIRECTORY + DIRECTORIES;
const TABLE_FLAGS = 0x67n;

/** The command itself: opens the image, checks its tables, lists the whole address space, the kernel's half included. */
export const dumpBenchmark: Benchmark = {
  name: "dump",
  group: "claim",
  operation: "ptescope dump of one process of guest-a1, kernel half included",
  reference: null,
  insteadOf: null,
  prepare() {
    return { operations: 1, run: () => lengthOfDump(ARGUMENTS) };
  },
};

/** A listing that nothing folds: as many ranges as pages. */
export const scatteredDumpBenchmark: Benchmark = {
  name: "dump-scattered",
  group: "claim",
  operation: "a page of ptescope dump, aliases looked for; 1,048,576 4K pages in shuffled frames",
  reference: null,
  insteadOf: null,
  prepare() {
    const directory = mkdtempSync(join(tmpdir(), "ptescope-bench-"));
    process.on("exit", () => rmSync(directory, { recursive: true }));
    const file = join(directory, "scattered.raw");
    writeFileSync(file, scatteredImage());
    const options = ["--cr3", (ROOT * PAGE_SIZE).toString(16), "--lines", "all"];
    return { operations: PAGES, run: () => lengthOfDump(["dump", file, ...options]) };
  },
};

function scatteredImage(): Uint8Array {
  const entries = new BigUint64Array((FIRST_PAGE_TABLE + PAGE_TABLES) * 512);
  const set = (table: number, index: number, frame: number): void => {
    entries[table * 512 + index] = BigInt(frame) * BigInt(PAGE_SIZE) + TABLE_FLAGS;
  };
  set(ROOT, 0, PDPT);
  for (let at = 0; at < DIRECTORIES; at++) set(PDPT, at, FIRST_DIRECTORY + at);
  for (let at = 0; at < PAGE_TABLES; at++) set(FIRST_DIRECTORY, at, FIRST_PAGE_TABLE + at);
  const frames = Uint32Array.from({ length: PAGES }, (_, at) => PAGES + at);
  const draw = xorshift32(12_345);
  for (let at = PAGES - 1; at > 0; at--) {
    const other = draw() % (at + 1);
    [frames[at], frames[other]] = [frames[other]!, frames[at]!];
  }
  for (let at = 0; at < PAGES; at++) set(FIRST_PAGE_TABLE, at, frames[at]!);
  return new Uint8Array(entries.buffer);
}

/** Characters that a dump prints. */
async function lengthOfDump(args: readonly string[]): Promise<number> {
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
  if ((await runCommandLine(args, terminal)) !== 0) throw new RangeError("dump failed");
  return length;
}
