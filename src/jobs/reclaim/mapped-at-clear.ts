import type { MmEvent } from "../../mm/events.ts";
import type { Kernel } from "../../mm/kernel.ts";
import type { VirtEvent } from "../../virt/events.ts";

const SMALL_PAGES = [0, 1, 512] as const;

/**
 * Counts the frames that a guest still mapped when try_to_unmap_one took their last host entry away, and that were
 * then freed. It keeps its own index of sptes and knows no rule, so it can be held against the auditor's findings:
 * under protocol b every such frame is freed with the spte in place.
 */
export class MappedAtClear {
  /** Frames freed so far that had an spte when their last entry was cleared. */
  freed = 0;
  readonly #kernel: Kernel;
  readonly #sptes = new Map<number, number>();
  readonly #marked = new Set<number>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  readonly observe = (event: MmEvent | VirtEvent): void => {
    switch (event.type) {
      case "spte-installed":
        this.#count(event.pfn, event.level, 1);
        break;
      case "spte-zapped":
        this.#count(event.pfn, event.level, -1);
        break;
      case "rmap-removed": {
        const { current, mem_map } = this.#kernel;
        if (current.caller !== "try_to_unmap_one" || mem_map.page_mapcount(event.page) > 0) break;
        if ((this.#sptes.get(event.page) ?? 0) > 0) this.#marked.add(event.page);
        break;
      }
      case "page-freed":
        if (this.#marked.delete(event.page)) this.freed++;
        break;
    }
  };

  #count(pfn: number, level: number, by: number): void {
    const frames = SMALL_PAGES[level] ?? 1;
    for (let frame = pfn; frame < pfn + frames; frame++) {
      this.#sptes.set(frame, (this.#sptes.get(frame) ?? 0) + by);
    }
  }
}
