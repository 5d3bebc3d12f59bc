import type { Entry } from "../../../arch/x86/cpu/entry.ts";
import type { MmEvent } from "../../mm/events.ts";
import type { Kernel } from "../../mm/kernel.ts";
import type { VirtEvent } from "../../virt/events.ts";

/** Lines kept of the beginning and of the end; a page of libc can have thousands of events. */
const FIRST_LINES = 300;
const LAST_LINES = 200;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function range(start: number, length: number): string {
  return Number.isFinite(length) ? `[${hex(start)}, ${hex(start + length)})` : "everything";
}

/**
 * What happened to one frame, line by line: changes of the entries that map it, its translations in guests and
 * devices, and every flush and notifier call made while the kernel worked on its page.
 */
export class PageStory {
  readonly #first: string[] = [];
  readonly #last: string[] = [];
  #left = 0;
  readonly #kernel: Kernel;
  readonly #frame: number;
  /** Calls about the frame's page that are on their way. */
  #working = 0;
  /** A flush of one of its entries was deferred and is still due. */
  #deferred = false;
  /** Listener and end of the last drop told, for those that go on from there. */
  #dropped = "";
  /** Accesses told since anything else happened: actors touch a page again and again. */
  readonly #told = new Set<string>();

  constructor(kernel: Kernel, frame: number) {
    this.#kernel = kernel;
    this.#frame = frame;
  }

  /** Entered a function that works on one vma; told only if it comes to anything. */
  #entered: string | null = null;

  readonly observe = (event: MmEvent | VirtEvent, number: number): void => {
    const text = this.#tell(event);
    if (text === null) return;
    if ((event.type === "call-entered" || event.type === "call-left") && event.mm !== null) {
      const cameToNothing = event.type === "call-left" && this.#entered !== null;
      this.#entered = event.type === "call-entered" ? this.#line(number, text) : null;
      if (event.type === "call-entered" || cameToNothing) return;
    }
    if (event.type === "access" || event.type === "spte-used" || event.type === "device-access") {
      if (this.#told.has(text)) return;
      this.#told.add(text);
    } else this.#told.clear();
    if (this.#entered !== null) this.#add(this.#entered);
    this.#entered = null;
    this.#add(this.#line(number, text));
  };

  #line(number: number, text: string): string {
    return `${String(number).padStart(9)}  ${text}`;
  }

  /** The story as far as it was kept, with a word on what was left out. */
  get lines(): string[] {
    const gap = this.#left === 0 ? [] : [`          ... ${this.#left} more ...`];
    return [...this.#first, ...gap, ...this.#last];
  }

  #add(line: string): void {
    if (this.#first.length < FIRST_LINES) this.#first.push(line);
    else if (this.#last.push(line) > LAST_LINES) {
      this.#last.shift();
      this.#left++;
    }
  }

  #tell(event: MmEvent | VirtEvent): string | null {
    switch (event.type) {
      case "call-entered":
      case "call-left":
        return this.#tellCall(event);
      case "entry-written":
      case "accessed-dirty-set":
        return this.#tellEntry(event);
      case "tlb-flush-begin":
        if (this.#working === 0) return null;
        return `CPU ${event.cpu} flushes ${range(event.start, event.length)} of ${event.mm.name} (${event.caller}, ${event.site})`;
      case "tlb-batch-add":
        if (this.#working === 0) return null;
        this.#deferred = true;
        return `flush of ${event.mm.name} deferred${event.writable ? ", the entry was dirty" : ""}`;
      case "tlb-batch-flush-end":
        if (!this.#deferred) return null;
        this.#deferred = false;
        return `deferred flushes done (${event.caller})`;
      case "notifier-called":
        if (this.#working === 0) return null;
        return `mmu_notifier_${event.op} ${range(event.start, event.length)} of ${event.mm.name}`;
      case "set-page-dirty":
      case "clear-page-dirty":
        return this.#isOurPage(event.page) ? event.type.replaceAll("-", " ") : null;
      case "write-out":
        return this.#isOurPage(event.page) ? "written out" : null;
      case "page-freed":
        return event.page === this.#frame ? "freed" : null;
      default:
        return this.#tellTranslation(event);
    }
  }

  #tellCall(event: Extract<MmEvent, { type: "call-entered" | "call-left" }>): string | null {
    if (!this.#isOurPage(event.page)) return null;
    const where = event.mm === null ? "" : ` in ${event.mm.name}`;
    if (event.type === "call-entered") {
      this.#working++;
      return `${event.call}${where}`;
    }
    this.#working--;
    return `${event.call}${where} returns ${event.result}`;
  }

  #tellEntry(event: Extract<MmEvent, { type: "entry-written" | "accessed-dirty-set" }>): string | null {
    const { old, value } = event;
    if (!this.#mapsUs(old) && !this.#mapsUs(value)) return null;
    const by = event.cpu === null ? "a device" : `CPU ${event.cpu}`;
    const what = event.type === "entry-written" ? "writes" : "'s walker updates";
    return `${by}${event.type === "entry-written" ? " " : ""}${what} the entry at ${hex(event.address)}: ${old} -> ${value}`;
  }

  #mapsUs(entry: Entry): boolean {
    const { format } = this.#kernel;
    if ((entry.lo & 0x101) === 0) return false;
    const pfn = format.pte_pfn(entry);
    if (pfn === this.#frame) return true;
    return (
      (entry.lo & 0x80) !== 0 && format.pmd_pfn(entry) === this.#kernel.mem_map.compound_head(this.#frame)
    );
  }

  #tellTranslation(event: MmEvent | VirtEvent): string | null {
    switch (event.type) {
      case "spte-installed":
      case "spte-zapped": {
        const frames = event.level === 2 ? 512 : 1;
        if (this.#frame < event.pfn || this.#frame >= event.pfn + frames) return null;
        const what = event.type === "spte-installed" ? "installs" : "zaps";
        return `${event.listener} ${what} its ${frames === 1 ? "4K" : "2M"} spte for ${hex(event.hva)}`;
      }
      case "spte-used":
        if (event.pfn !== this.#frame) return null;
        return `${event.listener}'s guest ${event.write ? "writes" : "reads"} ${hex(event.hva)}`;
      case "device-access":
        if (event.pfn !== this.#frame) return null;
        return `${event.listener}'s device ${event.write ? "writes" : "reads"} ${hex(event.address)}`;
      case "device-tlb-invalidated": {
        if (this.#working === 0) return null;
        // Aging a large mapping drops it page by page: told once.
        const follows = this.#dropped === `${event.listener} ${event.start}`;
        this.#dropped = `${event.listener} ${event.start + event.length}`;
        return follows ? null : `${event.listener} drops ${range(event.start, event.length)}`;
      }
      case "access":
        if (Math.floor(event.physical / 4096) !== this.#frame) return null;
        return `CPU ${event.cpu} ${event.write ? "writes" : "reads"} ${hex(event.address)}${event.tlbHit ? " through its TLB" : ""}`;
      default:
        return null;
    }
  }

  #isOurPage(page: number): boolean {
    if (page < 0) return false;
    const { mem_map } = this.#kernel;
    return mem_map.compound_head(page) === mem_map.compound_head(this.#frame);
  }
}
