import { describe, expect, test } from "vitest";
import { Linear, PAGE_SIZE, Pfn, Slot } from "../../../arch/x86/cpu/address.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import { Auditor } from "../../../src/audit/auditor.ts";

const USER = 0x67;
const ROOT = 0x10;
const PAGE = 0x20;
const AT = Linear.of(0x1000);

/** A system of somebody's own: CPU 1 reads through an entry, the entry is cleared, its frame given away. */
function ownSystem(flushBefore: boolean): readonly string[] {
  const machine = new Machine({ memory: "1MiB", cpus: 2 });
  const cpu = machine.cpu(1);
  const slotOf = (level: number) => Slot.of((ROOT + 4 - level) * PAGE_SIZE + (level === 1 ? 8 : 0));
  for (const level of [4, 3, 2]) machine.storeEntry(slotOf(level), ((ROOT + 5 - level) << 12) | USER, 0, 0);
  machine.storeEntry(slotOf(1), (PAGE << 12) | USER, 0, 0);
  cpu.loadCr3(ROOT * PAGE_SIZE);
  const auditor = new Auditor(machine);
  cpu.load(AT);
  machine.storeEntry(slotOf(1), 0, 0, 0);
  if (flushBefore) cpu.invlpg(AT);
  auditor.pageFreed(Pfn.of(PAGE));
  if (!flushBefore) cpu.invlpg(AT);
  return auditor.finish().map(({ rule, pfn, agent }) => `${rule.id}: frame ${pfn} by ${agent}`);
}

describe("F17: an OS of one's own frees a frame and flushes only then", () => {
  test("G1: the frame was given away while CPU 1 might still use it", () => {
    expect(ownSystem(false)).toEqual([`G1: frame ${PAGE} by CPU 1`]);
  });

  test("flushed before, nothing is found", () => {
    expect(ownSystem(true)).toEqual([]);
  });
});
