import { expect } from "vitest";
import { BYTES_OF_LEVEL, PAGE_SIZE, Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../arch/x86/cpu/cpu.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import { Machine, type MachineOptions } from "../../arch/x86/cpu/machine.ts";
import { Auditor } from "../../src/audit/auditor.ts";

/** P, W, U, A and D. */
export const USER = 0x67;
/** The same without U. */
export const KERNEL = 0x63;
export const GLOBAL = 0x100;
/** Where the kernel's half begins, with four levels. */
export const KERNEL_BASE = 0xffff_8000_0000_0000;

const PRESENT = 1;

/** A machine that no known system runs on: a program of a few lines makes its tables, frame by frame. */
export class BareSystem {
  readonly machine: Machine;
  readonly cpu: Cpu;
  #nextFrame = 0x100;

  constructor(options: Partial<MachineOptions> = {}) {
    this.machine = new Machine({ memory: "16MiB", ...options });
    this.cpu = this.machine.cpu(0);
  }

  /** A frame that nobody has. */
  frame(): Pfn {
    return Pfn.of(this.#nextFrame++);
  }

  /** An empty root table: its physical address. */
  root(): number {
    return this.frame() * PAGE_SIZE;
  }

  /** Where an address has its entry of a level; tables that are missing above it are made. */
  slot(root: number, linear: number, level = 1): Slot {
    const { memory } = this.machine;
    let table = root;
    for (let above: number = this.cpu.control.levels; above > level; above--) {
      const slot = slotIn(table, linear, above);
      if ((memory.readLo(slot) & PRESENT) === 0) this.store(slot, this.frame(), USER);
      table = memory.readLo(slot) & 0xffff_f000;
    }
    return slotIn(table, linear, level);
  }

  /** The frame of the table that holds an address's entry of a level. */
  table(root: number, linear: number, level = 1): Pfn {
    return Pfn.truncate(this.slot(root, linear, level));
  }

  map(root: number, linear: number, pfn: Pfn, flags = USER, level = 1): void {
    this.store(this.slot(root, linear, level), pfn, flags);
  }

  unmap(root: number, linear: number, level = 1): void {
    this.machine.storeEntry(this.slot(root, linear, level), 0, 0, 0);
  }

  store(slot: Slot, pfn: Pfn, flags: number): void {
    this.machine.storeEntry(slot, (pfn << 12) | flags, 0, 0);
  }
}

function slotIn(table: number, linear: number, level: number): Slot {
  return Slot.of(table + (Math.floor(linear / BYTES_OF_LEVEL[level]!) % 512) * 8);
}

/** Words of an address, for the oracle. */
export function words(linear: number): [number, number] {
  return [linearLo(linear), linearHi(linear)];
}

/** What was found, in brief: rule, frame, who. */
export function briefly({ findings }: Auditor): [number | string, number | null, string[]][] {
  return findings.map(({ rule, pfn, agents }) => [rule.id, pfn, agents]);
}

/** Where {@link cachedPage} has its page, and the page behind it. */
export const T = 0x40_2000;
export const OTHER_PAGE = 0x40_3000;

/** A page at T that CPU 0 has stored to under PCID 1, judged, with its entry cleared since; and a second root, empty. */
export function cachedPage(options: Partial<MachineOptions> = {}, flags = USER) {
  const system = new BareSystem(options);
  const { machine, cpu } = system;
  const [root, other] = [system.root(), system.root()];
  const frame = system.frame();
  system.map(root, T, frame, flags);
  if (cpu.control.model.pcid) cpu.setControl({ pcide: true });
  cpu.loadCr3(root, 1);
  const auditor = new Auditor(machine);
  expect(cpu.touch(T, true)).toBeNull();
  system.unmap(root, T);
  return { system, machine, cpu, root, other, frame, auditor, freed: () => auditor.pageFreed(frame) };
}

/** An instruction that must not fault. */
export function done(result: { readonly ok: boolean }): void {
  expect(result).toEqual({ ok: true });
}
