import { describe, expect, test } from "vitest";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { LeafCursor, userHalf } from "../../../src/inspect/leaves.ts";
import { linuxPteFormat, readLinux } from "../../../src/inspect/linux-reading.ts";
import type { Lost } from "../../../src/inspect/lost-ranges.ts";
import { countEntries, emptyCounts, mappedPages } from "../../../src/inspect/process-counts.ts";
import { randomNumbers, TableBuilder } from "./table-builder.ts";

const PTE_FORMAT = linuxPteFormat("linux-6.1", null);

/** A table whose every entry points at the table itself: at the lowest level each is a page. */
function mirror(builder: TableBuilder, frame: number): void {
  for (let index = 0; index < 512; index++) builder.table(frame, index, frame);
}

describe("tables that point at themselves at every level", () => {
  test.each([
    { levels: 4, pages: 256 * 512 ** 3 },
    { levels: 5, pages: 256 * 512 ** 4 },
  ] as const)("$levels levels: $pages pages, counted exactly", ({ levels, pages }) => {
    const builder = new TableBuilder(4);
    mirror(builder, 1);
    const counts = countEntries(builder.memory, 0x1000, levels, PTE_FORMAT);
    expect(counts).toEqual({ ...emptyCounts(), present4K: pages });
    expect(mappedPages(counts)).toBe(pages);
  });

  test("missing tables are counted as often as they are met, and the first of them named", () => {
    const builder = new TableBuilder(4);
    mirror(builder, 1);
    builder.table(1, 3, 0x1000);
    const told: Lost[] = [];
    const { present4K } = countEntries(builder.memory, 0x1000, 4, PTE_FORMAT, (lost) => told.push(lost));
    // One entry of each table is a page at the lowest level, and a missing table above it.
    expect(present4K).toBe(255 * 511 ** 2 * 512);
    expect(told[0]?.lostCount).toBe(1 + 255 + 255 * 511);
    expect(told[0]?.lost).toHaveLength(64);
    expect(told[0]?.lost[0]).toEqual({ start: 3 * 2 ** 21, length: 2 ** 21, table: 0x100_0000 });
  });
});

test("it counts what a step through every leaf counts, on tables that point anywhere", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomNumbers(seed);
    const builder = new TableBuilder(8);
    for (let word = 0; word < 60; word++) {
      // Frames 8 and 9 are not in memory.
      const flags = [0x67n, 0x67n, 0xe7n, 0x100n, 0x02n][random(5)]!;
      builder.table(1 + random(7), random(4) * 64 + random(3), random(10), flags);
    }
    const levels = seed % 2 === 0 ? 4 : 5;
    const wanted = emptyCounts();
    const cursor = new LeafCursor(builder.memory, 0x1000, levels, {
      range: userHalf(levels),
      notPresent: true,
    });
    const names = { present: ["", "present4K", "present2M", "present1G"] } as const;
    while (cursor.next()) {
      const { kind } = readLinux(PTE_FORMAT, cursor.level, new Entry(cursor.lo, cursor.hi));
      if (kind === "present") wanted[names.present[cursor.level] as "present4K"]++;
      else if (kind === "prot-none") wanted[cursor.level === 1 ? "protNone4K" : "protNone2M"]++;
      else if (kind === "swap" || kind === "migration" || kind === "hwpoison" || kind === "marker")
        wanted[kind]++;
      else if (kind !== "none") wanted.other++;
    }
    let told: Lost = { lost: [], lostCount: 0 };
    const counts = countEntries(builder.memory, 0x1000, levels, PTE_FORMAT, (lost) => {
      told = lost;
    });
    const { lost, lostCount } = cursor;
    expect({ seed, counts, told }).toEqual({ seed, counts: wanted, told: { lost, lostCount } });
  }
});
