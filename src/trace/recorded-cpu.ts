import {
  CONTROL_BITS,
  ControlRegisters,
  type ControlResult,
  type ControlState,
} from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { linearBigInt } from "../../arch/x86/cpu/linear-address.ts";
import { parsePat } from "../../arch/x86/cpu/pat.ts";
import type { RegisterName } from "../../arch/x86/cpu/records.ts";
import { Misfit, refuse } from "./file/misfit.ts";
import type { TraceRecordOf } from "./record.ts";

/** Bits that a machine in long mode has, by register; CR4.LA57 is that of five levels. */
const LONG_MODE: Readonly<Partial<Record<RegisterName, readonly number[]>>> = {
  CR0: [0, 31],
  CR4: [5],
  EFER: [8, 10],
};
const LA57 = 12;

/** What a CPU's registers were, to come back to. */
interface Saved {
  readonly values: ReadonlyMap<RegisterName, bigint>;
  readonly cr3: number;
}

/** The registers of one logical CPU as a recording tells of them. */
export class RecordedCpu {
  control: ControlRegisters;
  /**
   * Why the last load is not in effect yet, null when it is: a system that writes several registers at once is recorded
   * one register at a time, and only all of them together may be legal.
   */
  waiting: string | null = null;
  /** As they were loaded, for those that were. */
  readonly #values = new Map<RegisterName, bigint>();
  #saved: Saved | null = null;
  #changed = false;

  constructor(model: CpuModel, levels: 4 | 5) {
    this.control = new ControlRegisters(model, levels);
  }

  /** Throws Misfit for a value that the CPU cannot take. */
  load({ register, valueLo, valueHi }: TraceRecordOf<"register-loaded">): void {
    const value = linearBigInt(valueLo, valueHi);
    this.#check(register, value);
    this.#changed = true;
    this.#values.set(register, value);
    const result = this.#apply();
    this.waiting = result.ok ? null : `${register} 0x${value.toString(16)} that the CPU takes: ${result.why}`;
  }

  /** Throws Misfit for a root or a PCID that the CPU cannot take. */
  loadRoot({ root, pcid }: TraceRecordOf<"cr3-loaded">): void {
    const { model, pcide } = this.control;
    if (root < 0 || root >= 2 ** model.maxPhyAddr) refuse("root", `below 2^${model.maxPhyAddr}`, root);
    if (pcid < 0 || (pcid !== 0 && !pcide))
      refuse("pcid", pcide ? "0 to 4095" : "0 while CR4.PCIDE is 0", pcid);
    this.#changed = true;
    this.control.setRoot(root, pcid);
  }

  /** {@link reset} comes back to here. */
  mark(): void {
    this.#saved = { values: new Map(this.#values), cr3: this.control.cr3 };
    this.#changed = false;
  }

  reset(): void {
    const saved = this.#saved;
    if (saved === null || !this.#changed) return;
    const { model, levels } = this.control;
    this.control = new ControlRegisters(model, levels);
    this.waiting = null;
    this.#values.clear();
    for (const [register, value] of saved.values) this.#values.set(register, value);
    this.#apply();
    this.control.setCr3(BigInt(saved.cr3));
    this.#changed = false;
  }

  #check(register: RegisterName, value: bigint): void {
    for (const bit of LONG_MODE[register] ?? []) {
      if (!isSet(value, bit)) refuse(register, "that of long mode with paging", `0x${value.toString(16)}`);
    }
    if (register === "CR4" && isSet(value, LA57) !== (this.control.levels === 5)) {
      refuse("CR4", `that of ${this.control.levels} levels`, `0x${value.toString(16)}`);
    }
    if (register.startsWith("PKR") && value >> 32n !== 0n) {
      refuse(register, "32 bits", `0x${value.toString(16)}`);
    }
    if (register === "PAT" && parsePat(value) === null) throw new Misfit("PAT of known memory types");
  }

  /** Puts all loaded values into effect, or none. Bits that have nothing to do with paging are left out. */
  #apply(): ControlResult {
    const { control } = this;
    const changes: Partial<ControlState> = {};
    for (const { name, register, bit } of CONTROL_BITS) {
      const value = this.#values.get(register);
      if (value !== undefined) changes[name] = isSet(value, bit);
    }
    for (const [name, register] of [
      ["pkru", "PKRU"],
      ["pkrs", "PKRS"],
    ] as const) {
      const value = this.#values.get(register);
      if (value !== undefined) changes[name] = Number(value);
    }
    const result = control.set(changes);
    const pat = this.#values.get("PAT");
    if (result.ok && pat !== undefined) control.setPat(pat);
    return result;
  }
}

function isSet(value: bigint, bit: number): boolean {
  return ((value >> BigInt(bit)) & 1n) === 1n;
}
