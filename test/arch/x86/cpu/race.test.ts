import { describe, expect, it } from "vitest";
import type { CpuModel } from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PAGE_A, PAGE_B, PDE, PDPTE, PML4E, PTE, T } from "./fixture.ts";

/**
 * M10: another CPU changes an entry while a walk stands between its reads and its locked updates of A and D. Whatever the
 * moment, the outcome must be that of one order: the whole access first, or the whole change first.
 */

const XD = 1n << 63n;
const KEY = 1n << 59n;
/** Entries by level; tables that stand in for another one have page B behind them. */
const ENTRIES = [
  { level: 4, at: PML4E },
  { level: 3, at: PDPTE },
  { level: 2, at: PDE },
  { level: 1, at: PTE },
] as const;
type Change = (old: bigint, level: number) => bigint;
const CHANGES: Readonly<Record<string, Change>> = {
  clear: () => 0n,
  "swap out": () => 0x0000_1234_0000_0000n,
  "write-protect": (old) => old & ~2n,
  "take from the user": (old) => old & ~4n,
  "make not executable": (old) => (old & ~0x60n) | XD,
  "give a key": (old) => (old & ~0x60n) | KEY,
  remap: (old, level) => (level === 1 ? (old & 0xfffn) | BigInt(PAGE_B) : old ^ 0x8_0000n),
  "clear A and D": (old) => old & ~0x60n,
  "software bit": (old) => old | 0x200n,
};
const KINDS = ["read", "write", "fetch"] as const;
const MOMENTS = ["before", "between", "after"] as const;

interface Case {
  readonly entry: (typeof ENTRIES)[number];
  readonly change: Change;
  readonly kind: (typeof KINDS)[number];
  readonly who: "user" | "sup";
  readonly bits: number;
  readonly moment: (typeof MOMENTS)[number];
}

/** The outcome, every entry but A of the tables (a walk may set it at any time), and the data of both pages. */
function run(f: Fixture, { entry, change, kind, who, bits, moment }: Case): string {
  const [accessed, leaf] = [(bits & 1) !== 0 ? 0x20n : 0n, (bits & 2) !== 0 ? 0x60n : 0n];
  f.set(PML4E, 0x10_0007n | accessed);
  f.set(PDPTE, 0x10_1007n | accessed);
  f.set(PDE, 0x10_2007n | accessed);
  f.set(PTE, 0x11_0007n | leaf);
  f.set(PAGE_A, 0n).set(PAGE_B, 0n).cpu.dropPage(T);
  let done = false;
  const other = (): void => {
    if (done) return;
    done = true;
    const value = change(f.get(entry.at), entry.level);
    const [lo, hi] = [BigInt.asIntN(32, value), BigInt.asIntN(32, value >> 32n)];
    f.machine.exchangeEntry(entry.at, Number(lo), Number(hi), 1);
  };
  if (moment === "before") other();
  f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate: moment === "between" ? other : null };
  const result = f.access(kind, who);
  // A walk that has nothing to update has no moment between.
  other();
  const tables = [PML4E, PDPTE, PDE].map((at) => f.get(at) & ~0x20n);
  const others = [PTE, PAGE_A, PAGE_B].map((at) => f.get(at));
  return [result, ...[...tables, ...others].map((word) => word.toString(16))].join(" ");
}

/** Cases whose outcome is that of no order. */
function broken(model: CpuModel): { cases: number; broken: string[] } {
  const found: string[] = [];
  const f = new Fixture({ model, cpus: 2, memory: "2MiB" });
  f.cpu.setControl({ pke: true, pkru: 0x8 });
  let cases = 0;
  for (const entry of ENTRIES) {
    for (const [name, change] of Object.entries(CHANGES)) {
      for (const kind of KINDS) {
        for (const who of ["user", "sup"] as const) {
          for (let bits = 0; bits < 4; bits++) {
            const at = { entry, change, kind, who, bits };
            const [before, between, after] = MOMENTS.map((moment) => run(f, { ...at, moment }));
            cases++;
            if (between !== before && between !== after)
              found.push(`${name} of level ${entry.level}, ${who} ${kind}`);
          }
        }
      }
    }
  }
  return { cases, broken: found };
}

describe("M10: a change of an entry under a walk", () => {
  it("locked cycles on 64 bits: always as if one came first", () => {
    const result = broken(MODEL);
    console.log(`M10: ${result.cases} cases, ${result.broken.length} without an order`);
    expect(result).toEqual({ cases: 864, broken: [] });
  });

  it("locked cycles on 32 bits miss a change of the high half", () => {
    const { broken: found } = broken({ ...MODEL, adUpdate: "locked32" });
    expect(found.length).toBeGreaterThan(0);
    expect(found.every((text) => /executable|key/.test(text))).toBe(true);
  });

  it("plain stores bring back entries that were cleared", () => {
    const { broken: found } = broken({ ...MODEL, adUpdate: "plain" });
    expect(found.some((text) => text.startsWith("clear of level 1"))).toBe(true);
    const f = new Fixture({ model: { ...MODEL, adUpdate: "plain" } });
    f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate: () => f.set(PTE, 0n) };
    f.access("write");
    expect(f.get(PTE)).toBe(0x11_0067n);
  });

  it("KNL4: A and D stray into an entry that was just cleared, and the store is not done", () => {
    for (const [strayAD, entry] of [
      [true, 0x60n],
      [false, 0n],
    ] as const) {
      const f = new Fixture({ model: { ...MODEL, strayAD } });
      let first = true;
      const beforeUpdate = (): void => {
        if (first) f.set(PTE, 0n);
        first = false;
      };
      f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate };
      expect(f.access("write")).toBe("#PF 0x02");
      expect([f.get(PTE), f.get(PAGE_A)]).toEqual([entry, 0n]);
    }
  });

  it("before shadow stacks an update of D may overtake write protection: R/W=0, D=1, and the store is not done", () => {
    for (const [dirtyOnReadOnly, entry] of [
      [true, 0x11_0065n],
      [false, 0x11_0005n],
    ] as const) {
      const f = new Fixture({ model: { ...MODEL, dirtyOnReadOnly } });
      let first = true;
      const beforeUpdate = (): void => {
        if (first) f.set(PTE, 0x11_0005n);
        first = false;
      };
      f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate };
      expect(f.access("write", "user", T)).toBe("#PF 0x07");
      expect([f.get(PTE), f.get(PAGE_A)]).toEqual([entry, 0n]);
    }
  });
});
