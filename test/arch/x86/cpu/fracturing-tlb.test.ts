import { describe, expect, it } from "vitest";
import { FracturingTlb } from "../../../../arch/x86/cpu/fracturing-tlb.ts";
import { ACCESS_READ, createTlb, Machine, scopeOf, type TlbGeometry } from "../../../../src/package/cpu.ts";
import { MODEL } from "./fixture.ts";

const ROOT = 0x1000;
const PDPT = 0x2000;
const PD = 0x3000;
const LARGE = 2 ** 21;

/** 512 pages of 2 MiB from address 0 on, all on the same data; global where asked. */
function manyLargePages(global = false): {
  machine: Machine;
  cpu: Machine["cpus"][number];
  tlb: FracturingTlb;
} {
  const machine = new Machine({ memory: "16MiB", model: MODEL, fractureLargePages: true });
  const { memory } = machine;
  memory.write(ROOT, PDPT | 7, 0);
  memory.write(PDPT, PD | 7, 0);
  for (let i = 0; i < 512; i++) memory.write(PD + 8 * i, 0x87 | (global ? 0x100 : 0), 0);
  const cpu = machine.cpu(0);
  cpu.setControl({ pcide: true });
  cpu.loadCr3(ROOT, 1);
  return { machine, cpu, tlb: cpu.tlb as FracturingTlb };
}

function readAll(cpu: Machine["cpus"][number]): void {
  for (let i = 0; i < 512; i++) cpu.translate(ACCESS_READ, i * LARGE, 0);
}

describe("large pages as pieces", () => {
  it("are forgotten with the translations: by CR3, PCID, and INVPCID, but not where they stay", () => {
    const { cpu, tlb } = manyLargePages();
    readAll(cpu);
    expect([tlb instanceof FracturingTlb, tlb.remembered]).toEqual([true, 512]);
    cpu.loadCr3(ROOT, 2);
    expect(tlb.remembered).toBe(512);
    readAll(cpu);
    cpu.loadCr3(ROOT, 1);
    expect([tlb.remembered, tlb.entries().length]).toEqual([512, 512]);
    cpu.loadCr3(ROOT, 2);
    expect([tlb.remembered, tlb.entries().length]).toEqual([0, 0]);

    const global = manyLargePages(true);
    readAll(global.cpu);
    global.cpu.loadCr3(ROOT, 1);
    expect(global.tlb.remembered).toBe(512);
    global.cpu.invalidate("INVPCID 2", scopeOf("INVPCID 2", global.cpu.control));
    expect(global.tlb.remembered).toBe(0);
  });

  it("INVLPG takes the pieces of its own page and looks at no other", () => {
    const { cpu, tlb } = manyLargePages();
    readAll(cpu);
    cpu.translate(ACCESS_READ, 7 * LARGE + 0x5000, 0);
    const { entries } = tlb;
    tlb.entries = () => {
      throw new Error("all entries were listed");
    };
    cpu.invlpg(7 * LARGE + 0x1_2345);
    tlb.entries = entries;
    expect([tlb.remembered, tlb.entries().length]).toEqual([511, 511]);
    expect(tlb.entries().some(({ page }) => Math.floor(page / LARGE) === 7)).toBe(false);
  });
});

describe("a geometry of one's own", () => {
  const TINY: TlbGeometry = [{ name: "tiny", level: 1, use: "unified", sizes: [1, 2, 3], ways: 2, sets: 1 }];

  it("is a TLB of a machine", () => {
    const machine = new Machine({ memory: "16MiB", model: MODEL, tlb: TINY });
    const { memory } = machine;
    memory.write(ROOT, PDPT | 7, 0);
    memory.write(PDPT, PD | 7, 0);
    for (let i = 0; i < 3; i++) memory.write(PD + 8 * i, 0x87, 0);
    const cpu = machine.cpu(0);
    cpu.loadCr3(ROOT);
    for (let i = 0; i < 3; i++) cpu.translate(ACCESS_READ, i * LARGE, 0);
    expect(cpu.tlb.policy).toBe("custom");
    expect(cpu.tlb.entries().map(({ page, structure }) => [page / LARGE, structure])).toEqual([
      [2, "tiny"],
      [1, "tiny"],
    ]);
  });

  it.each<[Partial<TlbGeometry[number]>, string]>([
    [{ ways: 0 }, 'TLB "tiny" of 0 ways and 1 sets'],
    [{ sets: 1.5 }, 'TLB "tiny" of 2 ways and 1.5 sets'],
    [{ level: 3 as 1 }, 'TLB "tiny" on level 3'],
    [{ use: "both" as "data" }, 'TLB "tiny" for "both"'],
    [{ sizes: [] }, 'TLB "tiny" of page levels : give some of 1, 2 and 3'],
  ])("%o is refused", (change, says) => {
    expect(() => createTlb([{ ...TINY[0]!, ...change }])).toThrow(says);
    expect(() => createTlb([])).toThrow("give a structure at least");
  });
});
