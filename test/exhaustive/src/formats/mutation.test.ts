import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../../arch/x86/cpu/physical-memory.ts";
import { loadInto } from "../../../../src/formats/elf-core.ts";
import { FormatError } from "../../../../src/formats/format-error.ts";
import {
  CORE_OVERHEAD,
  imageFile,
  loadGuest,
  PROC_LIMITS,
  readGuestDirectory,
  validateTables,
} from "../../../../src/formats/guest-snapshot.ts";
import { ReadBudget } from "../../../../src/formats/read-budget.ts";
import {
  buildMiniGuest,
  buildTar,
  GuestDirectory,
  MINI_MEMORY,
  MINI_ROOTS,
  type MiniGuest,
  text,
} from "../../../src/formats/mini-guest.ts";
import { GUEST_DIRECTORIES } from "../../../support/guests.ts";
import { type Mutation, mutations, Xorshift } from "../../../support/mutate.ts";

/** Damaged copies of each kind of file. */
const COUNT = 250;
/** What reading one mini guest may cost: its three files are 45 KB, 60 KB unpacked. */
const MAX_BYTES = 2 ** 19;
/** 64-bit words in the eight table pages, which stand at 0x1000 in the mini core. */
const TABLE_WORDS = 8 * 512;

let directory: GuestDirectory;
let guest: MiniGuest;
beforeAll(() => {
  directory = new GuestDirectory();
  guest = buildMiniGuest();
});
afterAll(() => directory.remove());

/** The error that `read` ended in, or null. Anything but a one-line FormatError on `path` fails the test. */
function outcome(label: string, path: string, budget: ReadBudget, read: () => void): FormatError | null {
  let failure: unknown = null;
  try {
    read();
  } catch (error) {
    failure = error;
  }
  expect(budget.bytes, label).toBeLessThanOrEqual(budget.maxBytes);
  expect(budget.tableVisits, label).toBeLessThanOrEqual(budget.maxTableVisits);
  if (failure === null) return null;
  if (!(failure instanceof FormatError)) throw new Error(`${label}: not a FormatError`, { cause: failure });
  expect(failure.message.startsWith(path), `${label}: ${failure.message}`).toBe(true);
  expect(failure.message, label).toMatch(/^[^\n\r]+: expected [^\n\r]+$/);
  return failure;
}

/** Reads the guest after each mutation was written; returns how many were refused. */
function countRefused(damaged: Iterable<Mutation>, write: (bytes: Uint8Array) => void): number {
  directory.writeGuest(guest);
  let refused = 0;
  for (const { label, bytes } of damaged) {
    write(bytes);
    // Eight table pages, four levels; a damaged header may drop pages but never add any.
    const budget = new ReadBudget(MAX_BYTES, 4 * 8);
    const read = (): void => void loadGuest(readGuestDirectory(directory.path, budget), budget);
    if (outcome(label, directory.path, budget, read) !== null) refused++;
  }
  return refused;
}

/** Replaces one value, at any depth, by one of `values`; says what it did. */
function replaceOne(json: unknown, random: Xorshift, values: readonly unknown[]): string {
  const places: { owner: Record<string, unknown>; name: string }[] = [];
  const collect = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const owner = value as Record<string, unknown>;
    for (const name of Object.keys(owner)) {
      places.push({ owner, name });
      collect(owner[name]);
    }
  };
  collect(json);
  const { owner, name } = random.pick(places);
  owner[name] = random.pick(values);
  return `${name} is ${JSON.stringify(owner[name])}`;
}

function writeMembers(members: ReadonlyMap<string, Uint8Array>): void {
  directory.write("proc.tar.gz", gzipSync(buildTar(members), { level: 1 }));
}

describe("a damaged guest is refused in one line or read, and never costs more than its budget", () => {
  test("the mini guest itself is read", () => {
    expect(countRefused([{ label: "untouched", bytes: guest.core }], () => {})).toBe(0);
  });

  test("ELF core, plain", () => {
    const refused = countRefused(mutations(guest.core, 1, COUNT), (bytes) =>
      directory.write("pt.elf.gz", bytes),
    );
    expect(refused).toBeGreaterThan(COUNT / 10);
  });

  test("ELF core, headers and note only", () => {
    // Seven eighths of the core are table pages, most of them empty: aim at the part that says something.
    const head = guest.core.subarray(0, 0x200);
    const rest = guest.core.subarray(0x200);
    const refused = countRefused(mutations(head, 2, COUNT), (bytes) =>
      directory.write("pt.elf.gz", Buffer.concat([bytes, rest])),
    );
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test("ELF core, damaged inside the gzip", () => {
    const refused = countRefused(mutations(guest.core, 3, COUNT), (bytes) =>
      directory.write("pt.elf.gz", gzipSync(bytes, { level: 1 })),
    );
    expect(refused).toBeGreaterThan(COUNT / 10);
  });

  test("ELF core, the gzip stream itself", () => {
    const refused = countRefused(mutations(gzipSync(guest.core), 4, COUNT), (bytes) =>
      directory.write("pt.elf.gz", bytes),
    );
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test("ELF core as an IMAGE, without a manifest to compare with", () => {
    const file = join(directory.path, "image.elf");
    for (const { label, bytes } of mutations(guest.core, 5, COUNT)) {
      directory.write("image.elf", bytes);
      const budget = new ReadBudget(MAX_BYTES, 4 * 8);
      outcome(label, file, budget, () => {
        const core = imageFile(file, budget);
        const memory = new PhysicalMemory(MINI_MEMORY);
        loadInto(memory, core);
        validateTables(core, memory, Object.values(MINI_ROOTS), 4, budget);
      });
    }
  });

  test("tar", () => {
    const refused = countRefused(mutations(buildTar(guest.members), 6, COUNT), (bytes) =>
      directory.write("proc.tar.gz", bytes),
    );
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test("tar, the gzip stream itself", () => {
    const refused = countRefused(mutations(gzipSync(buildTar(guest.members)), 7, COUNT), (bytes) =>
      directory.write("proc.tar.gz", bytes),
    );
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test("manifest.json", () => {
    const refused = countRefused(mutations(guest.manifest, 8, COUNT), (bytes) =>
      directory.write("manifest.json", bytes),
    );
    expect(refused).toBeGreaterThan(COUNT / 2);
  });

  test.each([
    { member: "pre/one.maps", seed: 9, least: COUNT / 2 },
    { member: "pre/one.smaps", seed: 10, least: COUNT / 4 },
    { member: "pre/two.pagemap", seed: 11, least: COUNT / 2 },
    { member: "pre/SYS.kpagecount", seed: 12, least: COUNT / 4 },
    { member: "pre/SYS.kpageflags", seed: 13, least: COUNT / 4 },
  ])("$member", ({ member, seed, least }) => {
    const original = guest.members.get(member)!;
    const refused = countRefused(mutations(original, seed, COUNT), (bytes) =>
      writeMembers(new Map(guest.members).set(member, bytes)),
    );
    expect(refused).toBeGreaterThan(least);
  });
});

describe("damage that keeps the syntax right", () => {
  test("manifest.json: one value replaced", () => {
    const seed = 20;
    const random = new Xorshift(seed);
    const values = [
      null,
      true,
      -1,
      0,
      1.5,
      5,
      2 ** 33,
      2 ** 53,
      "",
      "0x0",
      "0xfffff000",
      "0x80000000000",
      "31..0",
      "6.12.1",
      "9.9.9",
      "one.k",
      "__proto__",
      [],
      {},
    ];
    const damaged = Array.from({ length: COUNT }, (_, number) => {
      const manifest: unknown = JSON.parse(Buffer.from(guest.manifest).toString());
      const done = replaceOne(manifest, random, values);
      return { label: `seed ${seed}, mutation ${number}: ${done}`, bytes: text(JSON.stringify(manifest)) };
    });
    const refused = countRefused(damaged, (bytes) => directory.write("manifest.json", bytes));
    expect(refused).toBeGreaterThan(COUNT / 2);
    expect(refused).toBeLessThan(COUNT);
  });

  test("page tables: any 64-bit word anywhere", () => {
    const seed = 21;
    const random = new Xorshift(seed);
    const damaged = Array.from({ length: COUNT }, (_, number) => {
      const bytes = guest.core.slice();
      const at = 0x1000 + random.below(TABLE_WORDS) * 8;
      const lo = (random.next() & ~0x80) | random.below(2);
      const hi = random.below(3) === 0 ? random.next() : 0;
      new DataView(bytes.buffer).setInt32(at, lo, true);
      new DataView(bytes.buffer).setInt32(at + 4, hi, true);
      return { label: `seed ${seed}, mutation ${number}: ${hi}:${lo} at ${at}`, bytes };
    });
    const refused = countRefused(damaged, (bytes) => directory.write("pt.elf.gz", bytes));
    expect(refused).toBeGreaterThan(COUNT / 8);
    expect(refused).toBeLessThan(COUNT);
  });
});

describe("a real guest, damaged", () => {
  const real = GUEST_DIRECTORIES["guest-a1"];
  const kinds = [
    { file: "pt.elf.gz", seed: 14, count: 40 },
    { file: "proc.tar.gz", seed: 15, count: 20 },
    { file: "manifest.json", seed: 16, count: 40 },
  ];
  test.each(kinds)("$file", ({ file, seed, count }) => {
    for (const name of kinds) directory.write(name.file, readFileSync(join(real, name.file)));
    const packed = readFileSync(join(real, file));
    const content = file.endsWith(".gz") ? gunzipSync(packed) : packed;
    for (const { label, bytes } of mutations(content, seed, count)) {
      directory.write(file, bytes);
      const budget = new ReadBudget(2 ** 24, 4 * 846);
      outcome(label, directory.path, budget, () => {
        loadGuest(readGuestDirectory(directory.path, budget), budget);
      });
    }
  });
});

describe("a gzip bomb stops at the declared maximum", () => {
  /** Members of one stream count together: 16 MiB of zeros each, 16 KB when packed. */
  const bomb = (mebibytes: number): Uint8Array => {
    const member = gzipSync(new Uint8Array(2 ** 24));
    return Buffer.concat(Array.from({ length: Math.ceil(mebibytes / 16) }, () => member));
  };

  test("in the core: memory plus headers", () => {
    directory.writeGuest(guest);
    directory.write("pt.elf.gz", bomb(64));
    const limit = MINI_MEMORY + CORE_OVERHEAD;
    const budget = new ReadBudget();
    const error = outcome("bomb", directory.path, budget, () => readGuestDirectory(directory.path, budget));
    expect(error?.message).toContain(`pt.elf.gz: expected at most ${limit} bytes when decompressed`);
    expect(budget.bytes).toBeLessThan(limit + 2 ** 17);
  });

  test("in the archive", () => {
    directory.writeGuest(guest);
    directory.write("proc.tar.gz", bomb(512));
    const budget = new ReadBudget();
    const error = outcome("bomb", directory.path, budget, () => readGuestDirectory(directory.path, budget));
    expect(error?.message).toContain(
      `proc.tar.gz: expected at most ${PROC_LIMITS.output} bytes when decompressed`,
    );
    expect(budget.bytes).toBeLessThan(PROC_LIMITS.output + 2 ** 20);
  });

  test("at the budget, when that is less", () => {
    directory.writeGuest(guest);
    directory.write("pt.elf.gz", bomb(16));
    const budget = new ReadBudget(2 ** 20);
    const error = outcome("bomb", directory.path, budget, () => readGuestDirectory(directory.path, budget));
    expect(error?.message).toContain("bytes when decompressed");
    expect(budget.bytes).toBe(2 ** 20);
  });
});
