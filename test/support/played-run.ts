import { PAGE_SIZE, type Slot } from "../../arch/x86/cpu/address.ts";
import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { Machine } from "../../arch/x86/cpu/machine.ts";
import type { RecordStream } from "../../arch/x86/cpu/record-stream.ts";
import type { Auditor, RecordedRun } from "../../src/audit/auditor.ts";
import type { Kernel } from "../../src/mm/kernel.ts";
import { kernelOpening } from "../../src/trace/opening.ts";
import type { TraceRecord } from "../../src/trace/record.ts";
import { LiveWorld } from "../../src/trace/world.ts";

/** Every record of a machine, of whatever layer, from now on. */
export function recordsOf(machine: Machine): TraceRecord[] {
  const heard: TraceRecord[] = [];
  const records = machine.records as unknown as RecordStream<TraceRecord>;
  records.listen((record) => void heard.push(record));
  return heard;
}

/** A world that counts how often an entry is read. */
class CountingWorld extends LiveWorld {
  reads = 0;

  override entry(slot: Slot): Entry {
    this.reads++;
    return super.entry(slot);
  }
}

/**
 * Memory and registers that follow the records played, for an auditor of a recording. They are those of a kernel on which
 * nothing has run since it was built in the same way as the recorded one.
 */
export class PlayedRun implements RecordedRun {
  readonly world: CountingWorld;
  readonly opening: readonly TraceRecord[];
  readonly #machine: Machine;
  readonly #roots: readonly (readonly [root: number, pcid: number])[];

  constructor(kernel: Kernel) {
    this.#machine = kernel.machine;
    this.#roots = kernel.machine.cpus.map(({ control }) => [control.root, control.pcid]);
    this.world = new CountingWorld(kernel.machine, kernel.format);
    this.opening = kernelOpening(kernel);
  }

  /** Plays records to an auditor, from the beginning: entries must be as they were then. */
  play(auditor: Auditor, records: readonly TraceRecord[]): void {
    this.#machine.cpus.forEach((cpu, n) => {
      cpu.control.setRoot(...this.#roots[n]!);
    });
    playTo(this.#machine, auditor, records);
  }
}

/** Stores on a machine what records say was stored, silently, and lets an auditor hear them. */
export function playTo(machine: Machine, auditor: Auditor, records: readonly TraceRecord[]): void {
  const { memory } = machine;
  for (const record of records) {
    if (record.kind === "entry-written" || record.kind === "accessed-dirty-set") {
      memory.write(record.slot, record.entryLo, record.entryHi);
    } else if (record.kind === "cr3-loaded") {
      machine.cpu(record.cpu).control.setRoot(record.root, record.pcid);
    } else if (record.kind === "table-linked") {
      for (let i = 0; i < 1024; i += 2) {
        memory.write(record.pfn * PAGE_SIZE + i * 4, record.words[i]!, record.words[i + 1]!);
      }
    }
    auditor.observe(record);
  }
}
