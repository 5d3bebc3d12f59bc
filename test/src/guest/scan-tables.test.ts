import { describe, expect, test } from "vitest";
import { PhysicalMemory } from "../../../arch/x86/cpu/physical-memory.ts";
import { MAX_READ_BYTES, ReadBudget } from "../../../src/formats/read-budget.ts";
import { scanTables } from "../../../src/guest/scan-tables.ts";

const ROOT = 0x1000;

function scan(entries: Record<number, bigint>, tables = 100): string[] {
  const memory = new PhysicalMemory(0x10000);
  const words = new BigUint64Array(memory.words.buffer);
  for (const [slot, entry] of Object.entries(entries)) words[Number(slot) / 8] = entry;
  const found: string[] = [];
  scanTables(
    memory,
    ROOT,
    4,
    new ReadBudget(MAX_READ_BYTES, tables),
    "pt.elf",
    (address, level, slot, lo) => {
      found.push(
        `0x${address.toString(16)} L${level} slot 0x${slot.toString(16)} lo 0x${(lo >>> 0).toString(16)}`,
      );
    },
  );
  return found;
}

/** Root -> PDPT at 0x2000 -> PD at 0x3000 -> PT at 0x4000, the second entry of each. */
const CHAIN = { 4104: 0x2067n, 8200: 0x3067n, 12296: 0x4067n };

describe("scan of a process's tables", () => {
  test("leaves and software entries of every level, in address order", () => {
    const entries = {
      ...CHAIN,
      8208: 0x4000_00e7n,
      12304: 0x20_00e7n,
      12312: 0xf_ffff_ffc0_01e0n,
      16384: 0x9067n,
      16392: 0x07ff_ffff_ffff_fc00n,
      20472: 0xa120n,
    };
    expect(scan(entries)).toEqual([
      "0x8040200000 L1 slot 0x4000 lo 0x9067",
      "0x8040201000 L1 slot 0x4008 lo 0xfffffc00",
      "0x80403ff000 L1 slot 0x4ff8 lo 0xa120",
      "0x8040400000 L2 slot 0x3010 lo 0x2000e7",
      "0x8040600000 L2 slot 0x3018 lo 0xffc001e0",
      "0x8080000000 L3 slot 0x2010 lo 0x400000e7",
    ]);
  });

  test("stray A and D bits are no entry, the kernel half is not looked at, nor are tables beyond memory", () => {
    expect(scan({ ...CHAIN, 16384: 0x60n, 6144: 0x2067n, 8216: 0x1000_0067n })).toEqual([]);
  });

  test("tables that point at themselves end with the budget", () => {
    const loop = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [ROOT + 8 * i, 0x1067n]));
    expect(() => scan(loop)).toThrow(/pt.elf.*at most 100 table pages/);
  });
});
