import { afterAll, describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { type ElfCore, loadInto, readElfCore } from "../../../src/formats/elf-core.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { validateTables } from "../../../src/formats/table-pages.ts";
import { buildCore, GuestDirectory } from "./mini-guest.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

const NOTE = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4, cr3: { a: "0x1000" } };
const ROOT = 0x1000;
const TABLE = 0x67n;
const PS = 0x80n;

/** A core whose segment holds pages 1..3; `entries` are [physical address, value]. */
function load(entries: readonly [number, bigint][], note: object | null = NOTE): [ElfCore, PhysicalMemory] {
  const bytes = new Uint8Array(3 * 4096);
  for (const [at, value] of entries) new DataView(bytes.buffer).setBigUint64(at - 0x1000, value, true);
  const core = readElfCore(directory.write("x.elf", buildCore([{ physical: 0x1000, bytes }], note)));
  const memory = new PhysicalMemory(0x10000);
  loadInto(memory, core);
  return [core, memory];
}

describe("legal tables", () => {
  test("an empty root is one visit", () => {
    expect(validateTables(...load([]), [ROOT], 4)).toBe(1);
  });

  test("a root that points at itself in every slot is visited once per level", () => {
    const entries = Array.from({ length: 512 }, (_, slot): [number, bigint] => [
      ROOT + slot * 8,
      0x1000n | TABLE,
    ]);
    expect(validateTables(...load(entries), [ROOT], 4)).toBe(4);
    expect(validateTables(...load(entries), [ROOT], 5)).toBe(5);
  });

  test("processes that share tables do not multiply the work", () => {
    const budget = new ReadBudget();
    const shared = load([
      [0x1000, 0x3000n | TABLE],
      [0x2000, 0x3000n | TABLE],
    ]);
    expect(validateTables(...shared, [0x1000, 0x2000, 0x1000], 4, budget)).toBe(3);
    expect(budget.tableVisits).toBe(3);
  });

  test("leaves of every size may point beyond memory", () => {
    const entries: [number, bigint][] = [
      [0x1000, 0x2000n | TABLE],
      [0x2000, 0xc000_0000n | PS | TABLE],
      [0x2008, 0x3000n | TABLE],
      [0x3000, 0xffe0_0000n | PS | TABLE],
    ];
    expect(validateTables(...load(entries), [ROOT], 4)).toBe(3);
  });

  test("entries that are not present, and PS where it is reserved, lead nowhere", () => {
    const entries: [number, bigint][] = [
      [0x1000, 0xffff_ffff_f000n],
      [0x1008, 0xf_0000n | PS | TABLE],
    ];
    expect(validateTables(...load(entries), [ROOT], 4)).toBe(1);
  });

  test("a full dump may leave out pages of zeros", () => {
    expect(validateTables(...load([[0x1000, 0x5000n | TABLE]], null), [ROOT], 4)).toBe(1);
  });
});

describe("tables that cannot be walked", () => {
  test("a table beyond memory: the message has the entry's place in the file", () => {
    const [core, memory] = load([[0x1018, 0x10000n | TABLE]]);
    expect(() => validateTables(core, memory, [ROOT], 4)).toThrow(
      "x.elf: offset 0x1018: expected the level 4 entry at physical 0x1018 to point inside the memory of 0x10000 bytes, found 0x10000",
    );
  });

  test("all 52 bits of an address count", () => {
    const [core, memory] = load([[0x1ff8, 0xf_ffff_ffff_f000n | TABLE]]);
    expect(() => validateTables(core, memory, [ROOT], 4)).toThrow("found 0xffffffffff000");
  });

  test("a table that a reduced core lacks", () => {
    const [core, memory] = load([
      [0x1000, 0x2000n | TABLE],
      [0x2010, 0x5000n | TABLE],
    ]);
    expect(() => validateTables(core, memory, [ROOT], 4)).toThrow(
      "offset 0x2010: expected the table page 0x5000 that the level 3 entry at physical 0x2010 points at",
    );
  });

  test.each([
    [0x1001, "expected a page-aligned root inside the memory of 0x10000 bytes, found 0x1001"],
    [0x10000, "found 0x10000"],
    [0x5000, "expected a segment that holds the root 0x5000"],
  ])("root 0x%s", (root, message) => {
    expect(() => validateTables(...load([]), [root], 4)).toThrow(message);
  });

  test("more tables than the budget has visits for", () => {
    const chain = load([
      [0x1000, 0x2000n | TABLE],
      [0x2000, 0x3000n | TABLE],
    ]);
    expect(() => validateTables(...chain, [ROOT], 4, new ReadBudget(0, 2))).toThrow("at most 2 table pages");
  });
});
