import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync, gunzipSync, gzipSync } from "node:zlib";
import { compress } from "snappyjs";
import { buildCore, buildTables, MINI_ROOTS } from "../src/formats/mini-guest.ts";
import { buildKdump, flatten } from "../support/kdump-file.ts";
import { buildLime } from "../support/lime-file.ts";
import type { Xorshift } from "../support/mutate.ts";
import { damaged, scrambled } from "./damage.ts";

const ROOT = MINI_ROOTS.one;
const CORE_OF_QEMU = join(import.meta.dirname, "../data/qemu/core.elf.gz");

/** A file of memory, and what its root is called on a command line. */
export interface ImageInput {
  readonly bytes: Uint8Array;
  /** Options that say what and where it is. */
  readonly options: readonly string[];
}

const CR3 = ["--cr3", ROOT.toString(16)];
const NOTE = {
  cr0: "0x80050033",
  cr4: "0x6e0",
  efer: "0xd01",
  levels: 4,
  cr3: { one: `0x${ROOT.toString(16)}` },
};

const KINDS: Readonly<Record<string, (tables: Uint8Array, random: Xorshift) => ImageInput>> = {
  elf: (bytes, random) => {
    const named = random.below(2) === 0;
    const core = buildCore([{ physical: ROOT, bytes }], named ? NOTE : null);
    return { bytes: core, options: named ? ["--process", "one"] : CR3 };
  },
  "elf of QEMU": () => ({ bytes: gunzipSync(readFileSync(CORE_OF_QEMU)), options: [] }),
  kdump: (bytes, random) => ({ bytes: kdump(bytes, random), options: CR3 }),
  flattened: (bytes, random) => {
    const file = kdump(bytes, random);
    const cut = random.below(file.length);
    const pieces = [
      [cut, file.subarray(cut)],
      [0, file.subarray(0, cut)],
    ] as const;
    return { bytes: flatten(pieces), options: CR3 };
  },
  lime: (bytes, random) => {
    const cut = 4096 * random.below(4);
    const ranges = [
      { first: ROOT, bytes: bytes.subarray(0, cut) },
      { first: ROOT + cut, bytes: bytes.subarray(cut) },
    ];
    return { bytes: buildLime(ranges.filter(({ bytes }) => bytes.length > 0)), options: CR3 };
  },
  raw: (bytes) => ({ bytes: Buffer.concat([new Uint8Array(ROOT), bytes]), options: CR3 }),
  "raw with holes": (bytes, random) => {
    const end = (ROOT + bytes.length).toString(16);
    const map = `${ROOT.toString(16)}-${end}@${random.pick(["0", "0", "1000", "ffffffffffffffff"])}`;
    return { bytes, options: ["--format", "raw", "--map", map, ...CR3] };
  },
};

function kdump(bytes: Uint8Array, random: Xorshift): Uint8Array {
  const pages = Array.from({ length: bytes.length / 4096 }, (_, i) => {
    const page = bytes.subarray(i * 4096, (i + 1) * 4096);
    const flag = random.pick([0, 1, 2, 4, 32]);
    const packed =
      flag === 1 ? deflateSync(page) : flag === 4 ? compress(page) : page.subarray(0, flag === 0 ? 4096 : 64);
    return { physical: ROOT + i * 4096, flag, packed };
  });
  return buildKdump(pages);
}

/** An image of any kind: its tables scrambled or not, the file damaged or not, perhaps packed. */
export function anyImage(random: Xorshift): ImageInput {
  const kind = KINDS[random.pick(Object.keys(KINDS))]!;
  const { bytes, options } = kind(scrambled(buildTables(ROOT), ROOT, random), random);
  // Half of the files are whole: what is wrong in them are the tables.
  const changed = random.below(2) === 0 ? bytes : damaged(bytes, random);
  const packed = random.below(6) === 0 ? gzipSync(changed, { level: 1 }) : changed;
  return { bytes: random.below(20) === 0 ? damaged(packed, random) : packed, options };
}
