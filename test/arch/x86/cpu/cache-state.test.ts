import { describe, expect, test } from "vitest";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type CacheState,
  type Machine,
  type MachineOptions,
  restoreCaches,
  saveCaches,
} from "../../../../src/package/cpu.ts";
import { Fixture, PDE, T } from "./fixture.ts";

const FIRST = T - (T % 2 ** 21);
const LARGE = FIRST + 2 ** 21;
/** A small geometry, so that sets are full. */
const TINY = [
  { name: "L1 data", level: 1, use: "data", sizes: [1, 2], ways: 2, sets: 2 },
  { name: "L1 code", level: 1, use: "instruction", sizes: [1], ways: 2, sets: 2 },
  { name: "L2", level: 2, use: "unified", sizes: [1, 2], ways: 4, sets: 4 },
] as const;

const OPTIONS: readonly [string, Partial<MachineOptions>][] = [
  ["stale", {}],
  ["none", { tlb: "none" }],
  [
    "stale, large pages in pieces, with table caches",
    { fractureLargePages: true, pagingStructureCaches: true },
  ],
  ["intel-skylake-client", { tlb: "intel-skylake-client" }],
  ["tiny, LRU", { tlb: TINY }],
  ["tiny, random, in pieces", { tlb: TINY, replacement: "random", tlbSeed: 7, fractureLargePages: true }],
];

/** T's page table filled with pages, every third of them global, and a 2-MiB page after it. */
function scene(options: Partial<MachineOptions>): Fixture {
  const f = new Fixture({ memory: "2MiB", ...options });
  for (let i = 0; i < 512; i++) {
    f.set(0x10_2000 + 8 * i, (BigInt(0x1000 + i) << 12n) | (i % 3 === 0 ? 0x107n : 7n));
  }
  f.set(PDE + 8, 0x80_00e7n);
  f.cpu.setControl({ pge: true, pcide: true });
  return f;
}

/** Accesses drawn from a seed; returns each outcome with whether it hit. */
function play(machine: Machine, seed: number, steps: number): string[] {
  const cpu = machine.cpu(0);
  let state = seed;
  const draw = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % below;
  };
  const seen: string[] = [];
  for (let i = 0; i < steps; i++) {
    const base = draw(4) === 0 ? LARGE : FIRST;
    const address = base + draw(24) * 4096;
    const kind = [ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH][draw(3)]!;
    if (draw(10) === 0) cpu.invlpg(address);
    if (draw(20) === 0) cpu.loadCr3(cpu.root, draw(3), draw(2) === 0);
    seen.push(`${cpu.translate(kind, address | 0, (address / 2 ** 32) | 0)} ${cpu.tlbHit}`);
  }
  return seen;
}

describe("the caches of a CPU, saved and restored", () => {
  test.each(OPTIONS)("go on as they would have: %s", (_name, options) => {
    for (let seed = 1; seed <= 5; seed++) {
      const one = scene(options);
      const other = scene(options);
      play(one.machine, seed, 200);
      const saved = JSON.parse(JSON.stringify(saveCaches(one.cpu))) as CacheState;
      play(other.machine, seed + 100, 50);
      other.machine.memory.words.set(one.machine.memory.words);
      const { root, pcid } = one.cpu.control;
      other.cpu.loadCr3(root, pcid, true);
      restoreCaches(other.cpu, saved);
      expect(saveCaches(other.cpu).tlb.entries.length).toBe(saved.tlb.entries.length);
      expect(play(other.machine, seed + 200, 300)).toEqual(play(one.machine, seed + 200, 300));
    }
  });

  test("keep what memory no longer says", () => {
    const f = scene({});
    f.cpu.load(T);
    const saved = saveCaches(f.cpu);
    f.cpu.invlpg(T);
    f.set(0x10_2000 + 0x40 * 8, 0n);
    expect(f.cpu.load(T)).toMatchObject({ ok: false });
    restoreCaches(f.cpu, saved);
    expect(f.cpu.load(T)).toMatchObject({ ok: true, physical: 0x104_0000 });
  });

  test("what a TLB cannot hold is refused by name", () => {
    const f = scene({ tlb: TINY });
    f.cpu.load(T);
    const saved = saveCaches(f.cpu);
    const [entry] = saved.tlb.entries;
    const put = (tlb: object) => () => restoreCaches(f.cpu, { ...saved, tlb: { ...saved.tlb, ...tlb } });
    expect(put({ policy: "stale" })).toThrow('state of a TLB "stale": this one is "custom"');
    expect(put({ entries: [{ ...entry, slot: 1000 }] })).toThrow("in slot 1000");
    expect(put({ entries: [{ ...entry, level: 4 }] })).toThrow("level 4");
    expect(put({ entries: [{ ...entry, pcid: 4096 }] })).toThrow("PCID 4096");
    expect(put({ entries: [{ ...entry, pfn: -1 }] })).toThrow("frame number -1");
    expect(put({ entries: [{ ...entry, rights: 1 }] })).toThrow("rights 1");
    expect(put({ random: 0 })).toThrow("generator 0");
    expect(() => restoreCaches(f.cpu, { ...saved, tables: [] })).toThrow("this machine has no such caches");
    expect(saveCaches(f.cpu)).toEqual(saved);
  });
});
