import { BYTES_OF_LEVEL, NONE, PAGE_SIZE, Pfn, Slot } from "../../../arch/x86/cpu/address.ts";
import type { Cpu } from "../../../arch/x86/cpu/cpu.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { RecordSink } from "../../../arch/x86/cpu/record-stream.ts";
import type { TraceRecord } from "../../trace/record.ts";

/** Where the page is. */
export const BARE_AT = 0x40_0000;
const PRESENT = 0x1;
/** P, W, U, A and D. */
const USER = 0x67;

/** A machine of one CPU that no known system runs on: tables made by hand, one page in them, PCID 1 loaded. */
export class BareStage {
  readonly machine = new Machine({ memory: "16MiB", pagingStructureCaches: true });
  readonly cpu: Cpu = this.machine.cpu(0);
  readonly root: number;
  readonly page: Pfn;
  #nextFrame = 0x100;

  constructor() {
    this.root = this.newRoot();
    this.page = this.#frame();
    this.#store(this.#slot(1), this.page);
    const { records } = this.machine;
    records.agent = records.introduce("task", this.cpu.id, "the system");
    this.cpu.setControl({ pcide: true });
    this.cpu.loadCr3(this.root, 1);
  }

  /** Physical address of an empty root table. */
  newRoot(): number {
    return this.#frame() * PAGE_SIZE;
  }

  /** The frame of the table that holds the page's entry of a level. */
  table(level: number): Pfn {
    return Pfn.truncate(this.#slot(level));
  }

  /** Clears the entry of a level on the way to the page. */
  unmap(level: number): void {
    this.machine.storeEntry(this.#slot(level), 0, 0, this.cpu.id);
  }

  /** Somebody writes what looks like an entry, into a frame that may be no table any more. */
  storeIn(frame: Pfn, index: number, pfn: Pfn): void {
    this.#store(Slot.of(frame * PAGE_SIZE + index * 8), pfn);
  }

  /** The frame gets another use: nobody but the system knows, so it must say so. */
  freed(kind: "page-freed" | "table-freed", pfn: Pfn): void {
    const records = this.machine.records as unknown as RecordSink<TraceRecord>;
    const header = { seq: records.next(), agent: records.agent, cpu: this.cpu.id, space: NONE };
    records.emit(
      kind === "page-freed" ? { kind, ...header, pfn, order: 0 } : { kind, ...header, pfn, level: 1 },
    );
  }

  #frame(): Pfn {
    return Pfn.of(this.#nextFrame++);
  }

  /** Where the entry of a level stands; tables that are missing above it are made. */
  #slot(level: number): Slot {
    const { memory } = this.machine;
    let table = this.root;
    for (let above: number = this.cpu.control.levels; above > level; above--) {
      const slot = slotIn(table, above);
      if ((memory.readLo(slot) & PRESENT) === 0) this.#store(slot, this.#frame());
      table = memory.readLo(slot) & 0xffff_f000;
    }
    return slotIn(table, level);
  }

  #store(slot: Slot, pfn: Pfn): void {
    this.machine.storeEntry(slot, (pfn << 12) | USER, 0, this.cpu.id);
  }
}

function slotIn(table: number, level: number): Slot {
  return Slot.of(table + (Math.floor(BARE_AT / BYTES_OF_LEVEL[level]!) % 512) * 8);
}
