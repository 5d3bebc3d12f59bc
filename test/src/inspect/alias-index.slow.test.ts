import { describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { loadInto } from "../../../src/formats/elf-core.ts";
import { imageFile } from "../../../src/formats/guest-snapshot.ts";
import { AliasIndex } from "../../../src/inspect/alias-index.ts";
import { foldLeaves, type LeafRange, physicalOf } from "../../../src/inspect/leaf-ranges.ts";
import { LeafCursor, pageBytes } from "../../../src/inspect/leaves.ts";
import { randomNumbers, TableBuilder } from "./table-builder.ts";

const ROOT = 0x1000;
const ALL = Number.POSITIVE_INFINITY;

interface Mapping {
  readonly linear: number;
  readonly physical: number;
  readonly length: number;
}

/** Every repeat of a range as a mapping of its own. */
function mappingsOf({ start, physical, length, repeats, stride }: LeafRange): Mapping[] {
  return Array.from({ length: repeats }, (_, repeat) => ({
    linear: start + repeat * stride,
    physical,
    length,
  }));
}

function overlaps(a: Mapping, b: Mapping): boolean {
  return a.physical < b.physical + b.length && b.physical < a.physical + a.length;
}

describe("aliases", () => {
  test("of random tables: as many as comparing everything with everything finds, and real ones", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = randomNumbers(seed);
      const tables = new TableBuilder()
        .table(1, 0, 2)
        .table(2, 0, 3)
        .table(3, 0, 4)
        .table(3, 1, 5)
        .table(3, 2, random(2) === 0 ? 4 : 5)
        .at(3, 3, 0xe7n);
      for (let count = random(30); count > 0; count--) {
        tables.table(
          4 + random(2),
          random(16),
          random(4) === 0 ? 7 : random(12),
          random(3) === 0 ? 0x65n : 0x67n,
        );
      }
      const cursor = (): LeafCursor => new LeafCursor(tables.memory, ROOT, 4);
      const ranges = [...foldLeaves(cursor())];
      const mappings = ranges.flatMap(mappingsOf);
      const pages = new Map<number, number>();
      for (const leaves = cursor(); leaves.next(); ) {
        for (let at = 0; at < pageBytes(leaves.level); at += 4096) {
          pages.set(leaves.linear + at, physicalOf(leaves) + at);
        }
      }
      const index = AliasIndex.of(cursor())!;
      for (const range of ranges) {
        const own = mappingsOf(range);
        const { count, first } = index.aliasesOf(range, ALL);
        const others = mappings.filter((mapping) => overlaps(own[0]!, mapping)).length - own.length;
        expect(count, `seed ${seed}, 0x${range.start.toString(16)}`).toBe(others);
        for (const alias of first) {
          expect(pages.get(alias.linear), `seed ${seed}`).toBe(alias.physical);
          expect(own.some(({ linear }) => linear + (alias.physical - range.physical) === alias.linear)).toBe(
            false,
          );
        }
        expect(first.length > 0, `seed ${seed}`).toBe(count > 0);
        expect(index.aliasesOf(range, 2).first).toEqual(first.slice(0, 2));
      }
    }
  });

  test("a mapping of just this page comes before one of all memory", () => {
    const tables = new TableBuilder()
      .table(1, 0, 2)
      .at(2, 1, 0xe7n)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(4, 0, 0x9067n)
      .at(4, 5, 0x9065n);
    const cursor = (): LeafCursor => new LeafCursor(tables.memory, ROOT, 4);
    const [range] = [...foldLeaves(cursor())];
    expect(AliasIndex.of(cursor())!.aliasesOf(range!, 2)).toEqual({
      count: 2,
      first: [
        { linear: 0x5000, physical: 0x9000, length: 4096 },
        { linear: 0x4000_9000, physical: 0x9000, length: 4096 },
      ],
    });
  });

  test("a part of a range knows the rest of its repeats", () => {
    const tables = new TableBuilder().table(1, 0, 2).table(2, 0, 3).table(3, 0, 4);
    for (let index = 0; index < 64; index += 2) tables.at(4, index, 0x9067n);
    const index = AliasIndex.of(new LeafCursor(tables.memory, ROOT, 4))!;
    const part = { start: 0x4000, length: 0x2000 };
    const [range] = [...foldLeaves(new LeafCursor(tables.memory, ROOT, 4, { range: part }))];
    expect(index.aliasesOf(range!, 1)).toEqual({
      count: 31,
      first: [{ linear: 0, physical: 0x9000, length: 4096 }],
    });
  });

  test("of espfix, 65,536 times the same page: each of its neighbours is asked in passing", () => {
    const core = imageFile("src/samples/guest-a1");
    const memory = new PhysicalMemory(core.memoryTop);
    loadInto(memory, core);
    const cursor = (): LeafCursor => new LeafCursor(memory, core.note!.cr3.get("big")!, 4);
    const index = AliasIndex.of(cursor())!;
    const ranges = [...foldLeaves(cursor())];
    const espfix = ranges.find(({ repeats }) => repeats === 65_536)!;
    const { count, first } = index.aliasesOf(espfix, 4);
    // Nothing but the kernel's mapping of all memory, which is no alias.
    expect({ count, first }).toEqual({ count: 0, first: [] });
    const map = index.directMap!;
    expect(map).toMatchObject({ start: 0xffff_8880_0000_0000, whole: true });
    expect(map.shareOf(espfix)).toBe("all");
    const direct = ranges.find((range) => map.shareOf(range) === "self")!;
    expect(index.aliasesOf(direct, 4).count).toBe(0);
    // Every user page is there, too.
    const user = ranges.filter(({ rights }) => rights.user);
    expect(user.every((range) => map.shareOf(range) === "all")).toBe(true);
  });

  test("a page that the direct map leaves out is told apart; other aliases stay", () => {
    const tables = new TableBuilder()
      .table(1, 0, 2)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(4, 0, 0x200_0067n)
      .at(4, 1, 0x1067n)
      .at(4, 2, 0x1063n)
      .table(1, 273, 5, 0x63n)
      .table(5, 0, 6, 0x63n);
    // 32 MiB but for 2 MiB at 4 MiB, at 0xffff888000000000.
    for (let index = 0; index < 16; index++)
      if (index !== 2) tables.at(6, index, BigInt(index * 2 ** 21) | 0xe3n);
    tables.at(4, 3, 0x3f_f067n).at(4, 4, 0x40_0067n);
    const cursor = (): LeafCursor => new LeafCursor(tables.memory, ROOT, 4);
    const index = AliasIndex.of(cursor())!;
    expect(index.directMap).toMatchObject({ start: 0xffff_8880_0000_0000, bytes: 15 * 2 ** 21 });
    const told = [...foldLeaves(cursor())]
      .filter(({ start }) => start < 2 ** 47)
      .map((range) => [range.start, index.directMap!.shareOf(range), index.aliasesOf(range, 1).count]);
    expect(told).toEqual([
      [0, "none", 0],
      [0x1000, "all", 1],
      [0x2000, "all", 1],
      [0x3000, "part", 0],
    ]);
  });

  test("without the kernel's half nothing looks like a direct map", () => {
    const tables = new TableBuilder().table(1, 0, 2);
    for (let index = 0; index < 4; index++) tables.at(2, index, (BigInt(index) * 2n ** 30n) | 0xe7n);
    expect(AliasIndex.of(new LeafCursor(tables.memory, ROOT, 4))!.directMap).toBeNull();
  });

  test("entries with a reserved bit map nothing, so they are no aliases", () => {
    const tables = new TableBuilder()
      .table(1, 0, 2)
      .table(2, 0, 3)
      .at(3, 0, 0xe7n)
      .at(3, 1, 0x2000_00e7n + 0x2000n);
    const reserved = { reservedHi: 0, reservedTop: 0x80, reservedLarge: () => 0x1f_e000 };
    const cursor = (): LeafCursor => new LeafCursor(tables.memory, ROOT, 4, { reserved });
    const index = AliasIndex.of(cursor())!;
    expect([...foldLeaves(cursor())].map((range) => index.aliasesOf(range, 1).count)).toEqual([0, 0]);
  });

  test("a cursor that was stopped gives no index: half the truth is none", () => {
    const tables = new TableBuilder().table(1, 0, 1);
    expect(AliasIndex.of(new LeafCursor(tables.memory, ROOT, 4, { most: 0 }))).toBeNull();
  });
});
