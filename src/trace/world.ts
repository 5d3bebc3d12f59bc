import { Pfn, type Slot } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { callable, instance, nullable, shape } from "../../arch/x86/cpu/argument-kinds.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import { PteFormat } from "../../arch/x86/mm/pte-format.ts";

/** What stands where there is no memory. */
const NOWHERE = new Entry(-1, -1);

/** What a judge may look at besides records: a live machine and a recording both have it, and nothing more. */
export interface World {
  readonly model: CpuModel;
  /** How the system reads entries that the processor does not use; null when none is known. */
  readonly format: PteFormat | null;
  /** The registers of a logical CPU now, with the PCID in effect. */
  cpu(n: number): ControlRegisters;
  /** The entry at a slot now. */
  entry(slot: Slot): Entry;
}

/** What a {@link World} must have. */
export const WORLD = shape<World>("world", { cpu: callable("cpu"), entry: callable("entry") });
const MACHINE = instance("machine", Machine);
const FORMAT = nullable(instance("pte format", PteFormat));

/** A machine that runs. */
export class LiveWorld implements World {
  readonly format: PteFormat | null;
  readonly #machine: Machine;

  constructor(machine: Machine, format: PteFormat | null = null) {
    this.#machine = need(MACHINE, machine);
    this.format = need(FORMAT, format);
  }

  get model(): CpuModel {
    return this.#machine.model;
  }

  cpu(n: number): ControlRegisters {
    return this.#machine.cpu(n).control;
  }

  entry(slot: Slot): Entry {
    const { memory } = this.#machine;
    // A device's registers are no table, and may change when they are read.
    const isMemory = slot < memory.size || memory.hasFrame(Pfn.truncate(slot));
    return isMemory ? memory.read(slot) : NOWHERE;
  }

  /** Stores an entry as it was, for a judge that goes back; nothing is recorded. */
  restore(slot: Slot, lo: number, hi: number): void {
    this.#machine.memory.write(slot, lo, hi);
  }
}
