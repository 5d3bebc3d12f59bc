import { describe, expect, test } from "vitest";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { frameOf } from "../../../arch/x86/cpu/entry.ts";
import { PTE_A, PTE_D, PTE_U, PTE_W, PTE_XD } from "../../../arch/x86/cpu/entry-layout.ts";
import { OFFSET_MASK } from "../../../arch/x86/cpu/page-walk.ts";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { loadInto } from "../../../src/formats/elf-core.ts";
import { imageFile } from "../../../src/formats/guest-snapshot.ts";
import { foldLeaves, type LeafRange, pagesOf } from "../../../src/inspect/leaf-ranges.ts";
import { LeafCursor, pageBytes } from "../../../src/inspect/leaves.ts";
import { parseFilter } from "../../../src/inspect/page-filter.ts";
import { randomNumbers, TableBuilder } from "./table-builder.ts";

/** Every page of the tables as one text, in address order. */
function* pages(leaves: LeafCursor): Generator<string> {
  while (leaves.next()) {
    const { level, every, any } = leaves;
    const physical = frameOf(leaves.lo & ~OFFSET_MASK[level as 1 | 2 | 3], leaves.hi) * 4096;
    yield page(
      leaves.linear,
      physical,
      level,
      (every & PTE_W) !== 0,
      (any & PTE_XD) === 0,
      (every & PTE_U) !== 0,
    );
  }
}

/** Every page that a range claims, in address order. */
function* unfold(range: LeafRange): Generator<string> {
  const { write, execute, user } = range.rights;
  const size = pageBytes(range.level);
  for (let time = 0; time < range.repeats; time++) {
    for (let at = 0; at < range.length; at += size) {
      const linear = range.start + time * range.stride + at;
      yield page(linear, range.physical + at, range.level, write, execute, user);
    }
  }
}

function page(
  linear: number,
  physical: number,
  level: number,
  write: boolean,
  execute: boolean,
  user: boolean,
): string {
  return `${linear} ${physical} ${level} ${write} ${execute} ${user}`;
}

/** Pages with A and with D. */
function countFlags(leaves: LeafCursor): { accessed: number; dirty: number } {
  const flags = { accessed: 0, dirty: 0 };
  while (leaves.next()) {
    if ((leaves.lo & PTE_A) !== 0) flags.accessed++;
    if ((leaves.lo & PTE_D) !== 0) flags.dirty++;
  }
  return flags;
}

function sum(ranges: readonly LeafRange[]): { accessed: number; dirty: number } {
  return {
    accessed: ranges.reduce((total, { accessed }) => total + accessed, 0),
    dirty: ranges.reduce((total, { dirty }) => total + dirty, 0),
  };
}

describe("folding", () => {
  test("a real kernel and process come apart again into exactly their pages", () => {
    const core = imageFile("src/samples/guest-a1");
    const memory = new PhysicalMemory(core.memoryTop);
    loadInto(memory, core);
    const root = core.note!.cr3.get("thp")!;
    const ranges = [...foldLeaves(new LeafCursor(memory, root, 4))];
    const unfolded = ranges.flatMap((range) => [...unfold(range)]);
    expect(unfolded.join("\n")).toBe([...pages(new LeafCursor(memory, root, 4))].join("\n"));
    expect(sum(ranges)).toEqual(countFlags(new LeafCursor(memory, root, 4)));
    // espfix: one read-only page of the kernel at 65,536 addresses.
    const espfix = ranges.filter(({ repeats }) => repeats > 1000);
    expect(espfix.map(({ repeats, stride, length }) => ({ repeats, stride, length }))).toEqual([
      { repeats: 65_536, stride: 0x1_0000, length: 4096 },
    ]);
    expect(ranges.length).toBeLessThan(unfolded.length / 50);
  });

  test("random page tables come apart again, whatever repeats in them", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = randomNumbers(seed);
      const tables = new TableBuilder()
        .table(1, 0, 2)
        .table(2, 0, 3)
        .table(3, 0, 4)
        .table(3, 1, 4)
        .table(3, 2, 5, 0x65n);
      for (let index = random(4); index < 40; index += 1 + random(3)) {
        tables.table(
          4 + random(2),
          index,
          random(4) === 0 ? random(3) : 7,
          BigInt([0x67, 0x65, 0x07][random(9) % 3]!),
        );
      }
      const ranges = [...foldLeaves(new LeafCursor(tables.memory, 0x1000, 4))];
      const unfolded = ranges.flatMap((range) => [...unfold(range)]);
      expect(unfolded, `seed ${seed}`).toEqual([...pages(new LeafCursor(tables.memory, 0x1000, 4))]);
      expect(sum(ranges), `seed ${seed}`).toEqual(countFlags(new LeafCursor(tables.memory, 0x1000, 4)));
    }
  });

  const one = (...entries: readonly bigint[]): LeafRange[] => {
    const tables = new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
    for (const [index, entry] of entries.entries()) tables.at(4, index, entry);
    return [...foldLeaves(new LeafCursor(tables.memory, 0x1000, 4))];
  };

  test.each([
    { difference: "R/W", bits: 0x2n },
    { difference: "U/S", bits: 0x4n },
    { difference: "PWT", bits: 0x8n },
    { difference: "PCD", bits: 0x10n },
    { difference: "PAT", bits: 0x80n },
    { difference: "G", bits: 0x100n },
    { difference: "the key", bits: 1n << 59n },
    { difference: "XD", bits: 1n << 63n },
  ])("never joins pages that differ in $difference", ({ bits }) => {
    expect(one(0x9061n, 0xa061n)).toHaveLength(1);
    expect(one(0x9061n, 0xa061n | bits)).toHaveLength(2);
  });

  test("counts A and D instead of splitting", () => {
    expect(one(0x9021n, 0xa061n, 0xb001n)).toMatchObject([{ length: 0x3000, accessed: 2, dirty: 1 }]);
  });

  test("shows one page many times in a row as a repeat, twice as it is", () => {
    expect(one(0x9001n, 0x9001n)).toMatchObject([{ repeats: 1 }, { repeats: 1 }]);
    const [range, ...others] = one(0x9001n, 0x9001n, 0x9021n, 0x9001n);
    expect(others).toEqual([]);
    expect(range).toMatchObject({ length: 0x1000, repeats: 4, stride: 0x1000, accessed: 1 });
    expect(pagesOf(range!)).toBe(4);
  });

  describe("entries with a reserved bit", () => {
    const control = new ControlRegisters({ ...cpuModel("intel-skylake-sp"), maxPhyAddr: 40 });
    const fold = (tables: TableBuilder): LeafRange[] => [
      ...foldLeaves(new LeafCursor(tables.memory, 0x1000, 4, { reserved: control })),
    ];

    test("of any level are ranges without rights", () => {
      const tables = new TableBuilder()
        .table(1, 0, 2)
        .at(1, 1, 0xe7n)
        .table(2, 0, 3)
        .at(2, 1, (1n << 51n) | 0x3067n)
        .at(3, 0, 0x20_00e7n)
        .at(3, 1, 0x40_20e7n);
      const ranges = fold(tables);
      expect(ranges.map(({ level, start, rights }) => [level, start, rights.reserved])).toEqual([
        [2, 0, false],
        [2, 0x20_0000, true],
        [3, 0x4000_0000, true],
        [4, 2 ** 39, true],
      ]);
      for (const { rights, physical } of ranges.slice(1)) {
        expect({ ...rights, physical }).toMatchObject({
          write: false,
          execute: false,
          user: false,
          physical: -1,
        });
      }
    });

    test("join whatever they point at, but never with pages", () => {
      const tables = new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
      for (let index = 0; index < 8; index++) {
        const far = index >= 2 && index < 6 ? 1n << BigInt(40 + index) : 0n;
        tables.at(4, index, far | (BigInt(index) << 12n) | 0x67n);
      }
      expect(fold(tables).map(({ start, length, rights }) => [start, length, rights.reserved])).toEqual([
        [0, 0x2000, false],
        [0x2000, 0x4000, true],
        [0x6000, 0x2000, false],
      ]);
    });

    test("nothing below them is visited", () => {
      const tables = new TableBuilder().at(1, 0, (1n << 50n) | 0x2067n).table(2, 0, 3);
      expect(fold(tables)).toMatchObject([{ level: 4, rights: { reserved: true } }]);
    });
  });

  test("a filter is applied to pages, so ranges break where it does", () => {
    const tables = new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
    for (const [index, entry] of [0x9061n, 0xa021n, 0xb061n, 0xc063n].entries()) tables.at(4, index, entry);
    const starts = (filter: string): number[] =>
      [...foldLeaves(new LeafCursor(tables.memory, 0x1000, 4), parseFilter(filter))].map(
        ({ start }) => start,
      );
    expect(starts("d")).toEqual([0, 0x2000, 0x3000]);
    expect(starts("!d")).toEqual([0x1000]);
    expect(starts("_w,d")).toEqual([0, 0x2000]);
    expect(starts("w|!d")).toEqual([0x1000, 0x3000]);
    expect(starts("u")).toEqual([]);
    expect(() => parseFilter("w,nx")).toThrow('filter "nx": there are w, x, u, s, ro, a, d,');
  });
});
