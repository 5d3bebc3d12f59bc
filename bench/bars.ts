import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { deflateSync } from "node:zlib";
import { ACCESS_READ } from "../arch/x86/cpu/access-rights.ts";
import { Machine } from "../arch/x86/cpu/machine.ts";
import type { Terminal } from "../src/cli/output.ts";
import { runCommandLine } from "../src/cli/run.ts";
import { readGuestDirectory } from "../src/formats/guest-snapshot.ts";
import { openImageFile } from "../src/formats/image-file.ts";
import { ReadBudget } from "../src/formats/read-budget.ts";
import { importGuest } from "../src/guest/import-kernel.ts";
import { checkTruth, isTrue } from "../src/guest/truth.ts";
import { plain } from "../src/text/paint.ts";
import { buildCore, GuestDirectory } from "../test/src/formats/mini-guest.ts";
import { buildGibGuest } from "../test/support/gib-guest.ts";
import { buildKdump } from "../test/support/kdump-file.ts";
import { PhysicalPages } from "../test/support/physical-pages.ts";

/** Work that is done once, cold, in a process of its own, and what it may cost. */
export interface Bar {
  readonly name: string;
  /** What is done. */
  readonly what: string;
  /** Most CPU seconds of one operation, and most MiB of the process; null where nothing is promised. */
  readonly seconds: number | null;
  readonly mebibytes: number | null;
  /** Sets up; what it makes in the file system goes with `remove`. */
  prepare(): { readonly operations: number; run(): void | Promise<void>; remove?(): void };
}

/** From where npm runs the bench: the program that measures is built elsewhere. */
const SAMPLE = resolve("src/samples/guest-a1");
const CORE_MEMORY = 1.5 * 2 ** 30;
const KDUMP_PAGES = 4096;
const LARGE_PAGES = 512;
const LARGE = 2 ** 21;
const INVLPGS = 1_000_000;

const SILENT: Terminal = {
  write: () => Promise.resolve(),
  warn: () => {},
  progress: () => {},
  paint: plain,
};

async function command(args: readonly string[], status = 0): Promise<void> {
  const found = await runCommandLine(args, SILENT);
  if (found !== status) throw new Error(`${args.join(" ")}: exit status ${found}, not ${status}`);
}

/** A sparse ELF core: the root at its start, the other tables and the page at its end. */
function largeCore(): ReturnType<Bar["prepare"]> {
  const folder = mkdtempSync(join(tmpdir(), "bars-"));
  const file = join(folder, "large.elf");
  const memory = new PhysicalPages();
  const at = (fromEnd: number): bigint => BigInt(CORE_MEMORY - fromEnd * 4096) | 0x67n;
  memory.path(0, 0x7f00_0020_0000n, [at(4), at(3), at(2), at(1)]);
  const [root, ...tables] = memory.pages;
  const core = buildCore([{ ...root!, physical: 0, fileSize: CORE_MEMORY, memorySize: CORE_MEMORY }], null);
  const start = core.length - 4096;
  const descriptor = openSync(file, "w");
  writeSync(descriptor, core);
  for (const { physical, bytes } of tables) writeSync(descriptor, bytes, 0, 4096, start + physical);
  ftruncateSync(descriptor, start + CORE_MEMORY);
  closeSync(descriptor);
  return {
    operations: 1,
    run: () => command(["walk", file, "--cr3", "0", "0x7f0000200000"]),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

function hostileGuest(): ReturnType<Bar["prepare"]> {
  const directory = new GuestDirectory();
  directory.writeGuest(buildGibGuest({ memory: 2 ** 22, entry: (gib) => (BigInt(gib + 1) << 30n) | 0xe7n }));
  return {
    operations: 1,
    run: () => command(["audit", directory.path]),
    remove: () => directory.remove(),
  };
}

function kdump(): ReturnType<Bar["prepare"]> {
  const folder = mkdtempSync(join(tmpdir(), "bars-"));
  const file = join(folder, "x.kdump");
  const pages = Array.from({ length: KDUMP_PAGES }, (_, page) => {
    const words = Uint32Array.from({ length: 1024 }, (_word, i) => (i % 8 === 0 ? page * i : i >> 4));
    return { physical: page * 4096, flag: 1, packed: deflateSync(new Uint8Array(words.buffer)) };
  });
  writeFileSync(file, buildKdump(pages));
  return {
    operations: KDUMP_PAGES,
    run() {
      const { image, close } = openImageFile(file, "auto", new ReadBudget());
      let read = 0;
      for (const { bytes } of image.pieces()) read += bytes.length / 4096;
      close();
      if (read !== KDUMP_PAGES) throw new Error(`${read} pages, not ${KDUMP_PAGES}`);
    },
    remove: () => rmSync(folder, { recursive: true }),
  };
}

/** Each time another page, which is used again afterwards. */
function fracturing(): ReturnType<Bar["prepare"]> {
  const machine = new Machine({ memory: "16MiB", fractureLargePages: true });
  const { memory } = machine;
  memory.write(0x1000, 0x2007, 0);
  memory.write(0x2000, 0x3007, 0);
  for (let page = 0; page < LARGE_PAGES; page++) memory.write(0x3000 + 8 * page, 0x87, 0);
  const cpu = machine.cpu(0);
  cpu.loadCr3(0x1000);
  for (let page = 0; page < LARGE_PAGES; page++) cpu.translate(ACCESS_READ, page * LARGE, 0);
  return {
    operations: INVLPGS,
    run() {
      for (let i = 0; i < INVLPGS; i++) {
        const address = (i % LARGE_PAGES) * LARGE;
        cpu.invlpg(address);
        cpu.translate(ACCESS_READ, address, 0);
      }
    },
  };
}

export const BARS: readonly Bar[] = [
  {
    name: "core",
    what: "walk of one address of a 1.5-GiB ELF core",
    seconds: 1,
    mebibytes: 200,
    prepare: largeCore,
  },
  {
    name: "hostile",
    what: "audit of a 6-KB guest with 256 entries of 1 GiB",
    seconds: 1,
    mebibytes: null,
    prepare: hostileGuest,
  },
  {
    name: "truth",
    what: "reading, import and truth of guest-a1",
    seconds: 1.2,
    mebibytes: null,
    prepare: () => ({
      operations: 1,
      run() {
        if (!isTrue(checkTruth(importGuest(readGuestDirectory(SAMPLE), { observe: true })))) {
          throw new Error("guest-a1 is not true");
        }
      },
    }),
  },
  {
    name: "kdump",
    what: "a page of a kdump file, by zlib",
    seconds: null,
    mebibytes: null,
    prepare: kdump,
  },
  {
    name: "invlpg",
    what: "INVLPG and a walk, 512 large pages kept as pieces",
    seconds: 20e-6,
    mebibytes: null,
    prepare: fracturing,
  },
];
