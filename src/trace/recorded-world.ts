import type { Slot } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { numeral, oneOf, shape, text, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import type { RecordedMachine } from "./file/header.ts";
import { Misfit } from "./file/misfit.ts";
import type { TraceRecord } from "./record.ts";
import { RecordedCpu } from "./recorded-cpu.ts";
import { RecordedTables } from "./recorded-tables.ts";
import type { World } from "./world.ts";

/** Tables that a world keeps if it is not told otherwise: 1 GiB of them. */
export const MAX_TABLES = 2 ** 18;

const MACHINE = shape<RecordedMachine>("machine", {
  model: shape<CpuModel>("model", { name: text("name") }),
  levels: oneOf("levels", [4, 5]),
  memory: whole("memory", 0, 2 ** 52),
  cpus: whole("cpus", 1, 4096),
});
const MOST = numeral<number>(
  "most tables",
  "a whole number, or Infinity",
  (most) => most >= 0 && !(most % 1 > 0),
);

/**
 * A machine that was recorded. On a live machine whoever hears a record finds the world changed already: so take each
 * record into the world first, and judge it then.
 *
 * Of CR3 it has the root and the PCID in effect; recordings do not have its other bits.
 */
export class RecordedWorld implements World {
  readonly model: CpuModel;
  readonly format: PteFormat | null;
  readonly #levels: 4 | 5;
  readonly #tables: RecordedTables;
  readonly #cpus: readonly RecordedCpu[];
  /** The CPU that a load waits for another load on. */
  #waiting: RecordedCpu | null = null;

  constructor(machine: RecordedMachine, maxTables: number = MAX_TABLES) {
    const { model, format, levels, memory, cpus } = need(MACHINE, machine);
    need(MOST, maxTables);
    this.model = model;
    this.format = format;
    this.#levels = levels;
    this.#tables = new RecordedTables(memory, maxTables);
    this.#cpus = Array.from({ length: cpus }, () => new RecordedCpu(model, levels));
  }

  /** Paging levels. */
  get levels(): 4 | 5 {
    return this.#levels;
  }

  /** How many tables it knows. */
  get tables(): number {
    return this.#tables.size;
  }

  cpu(n: number): ControlRegisters {
    return this.#cpu(n).control;
  }

  entry(slot: Slot): Entry {
    return this.#tables.entry(slot);
  }

  /** Takes in what a record changes. Throws Misfit for what the machine cannot do. */
  take(record: TraceRecord): void {
    if (this.#waiting !== null) this.#finishLoad(record);
    switch (record.kind) {
      case "entry-written":
      case "accessed-dirty-set":
        this.#tables.write(record.slot, record.entryLo, record.entryHi);
        break;
      case "table-linked":
        this.#tables.put(record.pfn, record.words);
        break;
      case "register-loaded": {
        const cpu = this.#cpu(record.cpu);
        cpu.load(record);
        this.#waiting = cpu.waiting === null ? null : cpu;
        break;
      }
      case "cr3-loaded":
        this.#cpu(record.cpu).loadRoot(record);
        break;
    }
  }

  /** Puts an entry back as it was before the last store; see {@link RecordedTables.restore}. */
  restore(slot: Slot, lo: number, hi: number): void {
    this.#tables.restore(slot, lo, hi);
  }

  /** {@link reset} comes back to here. From now on changes are noted, which takes room. */
  mark(): void {
    this.#tables.mark();
    for (const cpu of this.#cpus) cpu.mark();
  }

  /** Comes back to the mark, in time of what was changed since. */
  reset(): void {
    this.#waiting = null;
    this.#tables.reset();
    for (const cpu of this.#cpus) cpu.reset();
  }

  /** A load that is not legal by itself must go on with the next record. */
  #finishLoad(record: TraceRecord): void {
    const { waiting } = this.#waiting!;
    const goesOn = record.kind === "register-loaded" && this.#cpu(record.cpu) === this.#waiting;
    if (!goesOn && waiting !== null) throw new Misfit(waiting);
  }

  #cpu(n: number): RecordedCpu {
    const cpu = this.#cpus[n];
    if (cpu === undefined)
      throw new RangeError(`CPU ${n}: this machine has CPUs 0 to ${this.#cpus.length - 1}`);
    return cpu;
  }
}
