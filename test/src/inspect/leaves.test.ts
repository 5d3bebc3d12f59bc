import { describe, expect, test } from "vitest";
import {
  ACCESS_READ,
  MODE_SUPERVISOR,
  RIGHT_U,
  RIGHT_W,
  RIGHT_XD,
} from "../../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { PTE_XD } from "../../../arch/x86/cpu/entry-layout.ts";
import { linearHi, linearLo } from "../../../arch/x86/cpu/linear-address.ts";
import { INSPECT, WalkResult, walk } from "../../../arch/x86/cpu/page-walk.ts";
import { LeafCursor, type LeafOptions, pageBytes, userHalf } from "../../../src/inspect/leaves.ts";
import { randomNumbers, TableBuilder } from "./table-builder.ts";

const NX = 1n << 63n;

function list(tables: TableBuilder, root: number, levels: 4 | 5 = 4, options: LeafOptions = {}): string[] {
  const leaves = new LeafCursor(tables.memory, root * 4096, levels, options);
  const found: string[] = [];
  while (leaves.next()) found.push(`${leaves.linear.toString(16)} L${leaves.level}`);
  return found;
}

describe("leaves of a root", () => {
  const tables = new TableBuilder()
    .table(1, 0, 2)
    .table(1, 511, 2)
    .table(2, 0, 3)
    .at(2, 1, 0x4000_00e7n)
    .table(3, 0, 4)
    .at(3, 1, 0x20_00e7n)
    .at(4, 5, 0x9000n | 0x67n)
    .at(4, 6, 0x000f_ffff_ffff_f067n)
    .at(4, 7, 0x0fff_fc00n);

  test("come in address order, all sizes, and the shared half once more in the upper half", () => {
    const low = ["5000 L1", "6000 L1", "200000 L2", "40000000 L3"];
    const high = ["ffffff8000005000 L1", "ffffff8000006000 L1", "ffffff8000200000 L2", "ffffff8040000000 L3"];
    expect(list(tables, 1)).toEqual([...low, ...high]);
  });

  test("of a range are those that touch it", () => {
    const range = { start: 0x6000, length: 0x20_0000 };
    expect(list(tables, 1, 4, { range })).toEqual(["6000 L1", "200000 L2"]);
    expect(list(tables, 1, 4, { range: { start: 0x3f_f000, length: 0x1000 } })).toEqual(["200000 L2"]);
    expect(list(tables, 1, 4, { range: userHalf(4) })).toHaveLength(4);
  });

  test("that are not present are shown when asked for", () => {
    expect(list(tables, 1, 4, { range: userHalf(4), notPresent: true })).toContain("7000 L1");
  });

  test("stop behind `most`, and say so only when there is one more", () => {
    const count = (most: number): [number, boolean] => {
      const leaves = new LeafCursor(tables.memory, 4096, 4, { most });
      let found = 0;
      while (leaves.next()) found++;
      return [found, leaves.stopped];
    };
    expect(count(7)).toEqual([7, true]);
    expect(count(8)).toEqual([8, false]);
  });

  test("with five levels have 57-bit addresses", () => {
    const five = new TableBuilder().table(5, 256, 1).table(5, 1, 1).table(1, 0, 2).at(2, 1, 0x4000_00e7n);
    expect(list(five, 5, 5)).toEqual(["1000040000000 L3", "ff00000040000000 L3"]);
  });

  test("PS above a PDPTE maps nothing", () => {
    expect(list(new TableBuilder().table(1, 0, 2, 0xe7n).at(2, 0, 0xe7n), 1)).toEqual([]);
  });

  test("carry the AND of R/W and U/S and the OR of XD along the path", () => {
    const path = new TableBuilder()
      .table(1, 0, 2, 0x63n)
      .table(2, 0, 3, NX | 0x67n)
      .table(3, 0, 4)
      .at(4, 0, 0x65n);
    const leaves = new LeafCursor(path.memory, 0x1000, 4);
    expect(leaves.next()).toBe(true);
    expect([leaves.every & 7, leaves.any & PTE_XD, leaves.hi]).toEqual([1, PTE_XD, 0]);
  });
});

describe("tables that are not a tree", () => {
  test("a root that maps itself shows its own tables as pages, as recursive mappings do", () => {
    // Entry 1 leads to one page, entry 511 back to the root.
    const tables = new TableBuilder()
      .table(1, 1, 2)
      .table(2, 0, 3)
      .table(3, 0, 4)
      .at(4, 0, 0x9067n)
      .table(1, 511, 1);
    const found = list(tables, 1);
    // The page; then through 511: the page as seen one level later, each table, and the root itself.
    expect(found).toEqual([
      "8000000000 L1",
      "ffffff8040000000 L1",
      "ffffffffc0200000 L1",
      "ffffffffffe01000 L1",
      "fffffffffffff000 L1",
    ]);
  });

  test("a maze of 512^3 paths without a page costs a look at each table", () => {
    const tables = new TableBuilder();
    for (let index = 0; index < 512; index++) tables.table(1, index, 2).table(2, index, 3).table(3, index, 4);
    expect(list(tables, 1)).toEqual([]);
  });

  test("a root where every entry is the root itself gives pages at once", () => {
    const tables = new TableBuilder();
    for (let index = 0; index < 512; index++) tables.table(1, index, 1);
    expect(list(tables, 1, 4, { most: 3 })).toEqual(["0 L1", "1000 L1", "2000 L1"]);
  });

  test("a table outside memory loses its own part of the space, and nothing else", () => {
    const tables = new TableBuilder()
      .table(1, 0, 0x1234567)
      .table(1, 1, 2)
      .table(2, 0, 3)
      .table(3, 0, 4, 0xe7n);
    const leaves = new LeafCursor(tables.memory, 0x1000, 4);
    expect(leaves.next()).toBe(true);
    expect(leaves.linear).toBe(2 ** 39);
    expect(leaves.lost).toEqual([{ start: 0, length: 2 ** 39, table: 0x1234567000 }]);
    expect(leaves.next()).toBe(false);
    expect([leaves.lostCount, leaves.mapped]).toEqual([1, 1]);
    const above = new LeafCursor(tables.memory, 0x1000, 4, { range: { start: 2 ** 39, length: 2 ** 39 } });
    while (above.next());
    expect(above.lostCount).toBe(0);
  });

  test("a root that is not there is refused by name", () => {
    const { memory } = new TableBuilder();
    expect(() => new LeafCursor(memory, 0x63000, 4)).toThrow("root 0x63000: it is not in memory");
    expect(() => new LeafCursor(memory, 0x1001, 4)).toThrow("root 0x1001: it is no page's address");
  });
});

describe("random tables", () => {
  test("every leaf is what a page walk of its address finds, and nothing is left out", () => {
    const seed = 0x5eed;
    const random = randomNumbers(seed);
    const tables = new TableBuilder(32);
    for (let written = 0; written < 160; written++) {
      const flags = BigInt([0x67, 0x65, 0x63, 0xe7, 0x21, 0x66][random(6)]!) | (random(4) === 0 ? NX : 0n);
      tables.table(random(8), random(2) * 511, random(8), flags);
    }
    const control = new ControlRegisters(cpuModel("intel-sapphire-rapids"));
    const result = new WalkResult();
    const leaves = new LeafCursor(tables.memory, 0, 4);
    const starts = new Set<number>();
    while (leaves.next()) {
      starts.add(leaves.linear);
      walk(
        tables.memory,
        control,
        linearLo(BigInt(leaves.linear)),
        linearHi(BigInt(leaves.linear)),
        ACCESS_READ,
        MODE_SUPERVISOR,
        INSPECT,
        result,
      );
      expect([result.level, result.lo, result.hi], `seed ${seed}`).toEqual([
        leaves.level,
        leaves.lo,
        leaves.hi,
      ]);
      const rights = (leaves.every & (RIGHT_W | RIGHT_U)) | ((leaves.any & PTE_XD) === 0 ? 0 : RIGHT_XD);
      // Reserved bits end a walk before it has rights to show.
      if (result.code === 0) expect(result.rights & (RIGHT_W | RIGHT_U | RIGHT_XD)).toBe(rights);
    }
    // All addresses that these tables can map: indices 0 and 511 at every level.
    const ends = [0, 511];
    let mapped = 0;
    for (const a of ends) {
      for (const b of ends) {
        for (const c of ends) {
          for (const d of ends) {
            const address =
              ((a * 512 + b) * 512 + c) * 512 * 4096 + d * 4096 + (a > 255 ? 2 ** 64 - 2 ** 48 : 0);
            const [lo, hi] = [linearLo(BigInt(address)), linearHi(BigInt(address))];
            const code = walk(tables.memory, control, lo, hi, ACCESS_READ, MODE_SUPERVISOR, INSPECT, result);
            if (code !== 0 && code !== 3) continue;
            mapped++;
            expect(starts.has(address - (address % pageBytes(result.level))), `seed ${seed}`).toBe(true);
          }
        }
      }
    }
    expect(mapped).toBeGreaterThan(0);
  });
});
