import { describe, expect, it } from "vitest";
import { SetAssociativeTlb } from "../../../../arch/x86/cpu/set-associative-tlb.ts";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  createTlb,
  INSPECT,
  MODE_SUPERVISOR,
  TLB_GEOMETRIES,
  type TlbGeometry,
  type TlbUse,
  WalkResult,
  walk,
} from "../../../../src/package/cpu.ts";
import { Fixture, PDE, PDPTE, PTE, T } from "./fixture.ts";

const FIRST = T - (T % 2 ** 21);

/** T's page table filled with 512 pages, on these TLBs. */
function fixture(options: object): Fixture {
  const f = new Fixture({ memory: "64MiB", ...options });
  for (let i = 0; i < 512; i++) f.set(0x10_2000 + 8 * i, (BigInt(0x1000 + i) << 12n) | 7n);
  return f;
}

function touch(f: Fixture, page: number, kind: number = ACCESS_READ): boolean {
  const address = FIRST + page * 4096;
  expect(f.cpu.translate(kind, address | 0, (address / 2 ** 32) | 0)).toBe((0x1000 + page) * 4096);
  return f.cpu.tlbHit;
}

function structures(f: Fixture): (string | undefined)[] {
  return f.cpu.tlb.entries().map(({ structure }) => structure);
}

describe("TLB geometries", () => {
  const entriesOf = (geometry: TlbGeometry, level: number, use: TlbUse, size: number) =>
    geometry
      .filter((s) => s.level === level && s.use === use && s.sizes.some((one) => one === size))
      .reduce((sum, { ways, sets }) => sum + ways * sets, 0);

  it.each<[keyof typeof TLB_GEOMETRIES, number, TlbUse, number[]]>([
    ["intel-skylake-client", 1, "data", [64, 32, 4]],
    ["intel-skylake-client", 1, "instruction", [64, 8, 0]],
    ["intel-skylake-client", 2, "unified", [1536, 1536, 16]],
    ["intel-icelake-client", 1, "load", [64, 32, 8]],
    ["intel-icelake-client", 1, "store", [16, 16, 16]],
    ["intel-icelake-client", 2, "unified", [2048, 1024, 1024]],
    ["intel-alder-lake", 1, "load", [64, 32, 8]],
    ["intel-alder-lake", 1, "instruction", [256, 32, 0]],
    ["intel-granite-rapids", 1, "load", [96, 32, 8]],
    ["intel-lunar-lake", 1, "load", [128, 32, 8]],
    ["intel-skymont", 1, "data", [48, 48, 0]],
    ["intel-skymont", 2, "unified", [4096, 4096, 8]],
    ["amd-zen2", 2, "data", [2048, 2048, 0]],
    ["amd-zen2", 2, "instruction", [1024, 1024, 0]],
    ["amd-zen3", 1, "data", [64, 64, 64]],
    ["amd-zen3", 2, "data", [2048, 2048, 64]],
    ["amd-zen4", 1, "data", [72, 72, 72]],
    ["amd-zen4", 2, "data", [3072, 3072, 64]],
    ["amd-zen5", 1, "data", [96, 96, 96]],
    ["amd-zen5", 2, "data", [4096, 4096, 1024]],
    ["amd-zen5", 2, "instruction", [2048, 2048, 0]],
  ])("%s, level %i %s: entries for 4K, 2M, 1G as CPUID counts them", (name, level, use, counts) => {
    expect([1, 2, 3].map((size) => entriesOf(TLB_GEOMETRIES[name], level, use, size))).toEqual(counts);
  });
});

describe("a TLB with sets and ways", () => {
  const geometry: TlbGeometry = [
    { name: "D", level: 1, use: "data", sizes: [1], ways: 2, sets: 4 },
    { name: "I", level: 1, use: "instruction", sizes: [1], ways: 2, sets: 4 },
  ];

  function filled(replacement: "lru" | "random", seed: number): number[] {
    const tlb = new SetAssociativeTlb("stale", geometry, replacement, seed);
    const f = fixture({ tlb: "none" });
    for (let page = 0; page < 64; page++) {
      const found = new WalkResult();
      const lo = (FIRST + page * 4096) | 0;
      walk(
        f.machine.memory,
        f.cpu.control,
        lo,
        FIRST / 2 ** 32,
        ACCESS_READ,
        MODE_SUPERVISOR,
        INSPECT,
        found,
      );
      tlb.fill(found, 0, false, ACCESS_READ);
      tlb.lookup(FIRST | 0, FIRST / 2 ** 32, 0, ACCESS_READ);
    }
    return tlb.entries().map(({ page }) => (page - FIRST) / 4096);
  }

  it("keeps in each set what was used last", () => {
    expect(filled("lru", 1).sort((a, b) => a - b)).toEqual([0, 57, 58, 59, 60, 61, 62, 63]);
  });

  it("replaces at random by its seed", () => {
    expect(filled("random", 5)).toEqual(filled("random", 5));
    expect(filled("random", 5)).not.toEqual(filled("random", 6));
    expect(() => createTlb("amd-zen2", { seed: 0 })).toThrow(
      "TLB seed 0: give a whole number from 1 to 2^32-1",
    );
  });

  it("evicts from level 1, finds the page on level 2, and forgets it when both are full", () => {
    const f = fixture({ tlb: "intel-skylake-client" });
    for (let way = 0; way <= 4; way++) expect(touch(f, 16 * way)).toBe(false);
    expect(structures(f).filter((name) => name === "L1 data 4K")).toHaveLength(4);
    expect(touch(f, 0)).toBe(true);
    const other = fixture({ tlb: "intel-skylake-client" });
    for (let page = 0; page < 512; page++) touch(other, page);
    expect(structures(other).filter((name) => name === "L1 data 4K")).toHaveLength(64);
    expect(structures(other).filter((name) => name?.startsWith("L2"))).toHaveLength(512);
  });

  it("keeps instructions and data apart, and stores where the CPU has a TLB for them", () => {
    const f = fixture({ tlb: "amd-zen3" });
    expect([touch(f, 0), touch(f, 0, ACCESS_FETCH), touch(f, 0, ACCESS_FETCH)]).toEqual([false, false, true]);
    expect(structures(f)).toEqual([
      "L1 data 4K+2M+1G",
      "L2 data 4K",
      "L1 instruction 4K+2M+1G",
      "L2 instruction 4K",
    ]);
    const ice = fixture({ tlb: "intel-icelake-client" });
    touch(ice, 0);
    touch(ice, 0, ACCESS_WRITE);
    expect(structures(ice)).toContain("L1 store 4K+2M+1G");
    f.cpu.invlpg(FIRST);
    expect(f.cpu.tlb.entries()).toEqual([]);
  });

  it("a stale instruction translation outlives a data access that walked", () => {
    const f = fixture({ tlb: "amd-zen3" });
    touch(f, 0, ACCESS_FETCH);
    f.set(0x10_2000, 0x20_0007n);
    expect(f.cpu.translate(ACCESS_READ, FIRST | 0, FIRST / 2 ** 32)).toBe(0x20_0000);
    expect(f.cpu.translate(ACCESS_FETCH, FIRST | 0, FIRST / 2 ** 32)).toBe(0x100_0000);
  });

  it("holds large pages where the part has room for them", () => {
    for (const [address, entry, held] of [
      [PDE, 0x20_0087n, ["L1 data 2M", "L2 unified 4K+2M"]],
      [PDPTE, 0x87n, ["L1 data 1G", "L2 unified 1G"]],
    ] as const) {
      const f = fixture({ tlb: "intel-skylake-client" }).set(address, entry);
      f.cpu.load(T);
      expect(structures(f)).toEqual(held);
    }
  });
});

describe("large pages in pieces", () => {
  it.each(["stale", "amd-zen4"] as const)("%s: one INVLPG anywhere in the page drops them all", (tlb) => {
    const f = new Fixture({ tlb, fractureLargePages: true }).set(PDE, 0x20_0087n);
    const read = (address: number) => f.cpu.translate(ACCESS_READ, address | 0, (address / 2 ** 32) | 0);
    expect([read(FIRST + 0x5123), read(FIRST + 0x9123)]).toEqual([0x20_5123, 0x20_9123]);
    expect(new Set(f.cpu.tlb.entries().map(({ page, level }) => `${page - FIRST}/${level}`))).toEqual(
      new Set([`${0x5000}/1`, `${0x9000}/1`]),
    );
    f.set(PDE, 0x10_2007n).set(PTE, 0n);
    expect(read(FIRST + 0x5123)).toBe(0x20_5123);
    f.cpu.invlpg(FIRST + 0x1f_f000);
    expect(f.cpu.tlb.entries()).toEqual([]);
  });
});
