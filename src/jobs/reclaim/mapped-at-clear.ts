import { PAGES_OF_LEVEL } from "../../../arch/x86/cpu/address.ts";
import { type Handlers, ignoring } from "../../../arch/x86/cpu/record.ts";
import { KINDS, type RecordKind, type TraceRecord } from "../../trace/record.ts";

/**
 * Counts the frames that a guest still mapped when try_to_unmap_one took their last host entry away, and that were
 * then freed. It keeps its own index of sptes and knows no rule, so it can be held against the auditor's findings:
 * under protocol b every such frame is freed with the spte in place.
 */
export class MappedAtClear {
  /** Frames freed so far that had an spte when their last entry was cleared. */
  freed = 0;
  readonly #sptes = new Map<number, number>();
  readonly #marked = new Set<number>();
  readonly #innermostCall: () => string | undefined;

  readonly handlers: Handlers<TraceRecord> = {
    ...ignoring(...(Object.keys(KINDS) as RecordKind[])),
    "spte-installed": ({ pfn, level }) => this.#count(pfn, level, 1),
    "spte-dropped": ({ pfn, level }) => this.#count(pfn, level, -1),
    "rmap-removed": ({ own, pfn }) => {
      if (own > 0 || this.#innermostCall() !== "try_to_unmap_one") return;
      if ((this.#sptes.get(pfn) ?? 0) > 0) this.#marked.add(pfn);
    },
    "page-freed": ({ pfn, order }) => {
      for (let i = 0; i < 2 ** order; i++) if (this.#marked.delete(pfn + i)) this.freed++;
    },
  };

  /** `innermostCall` tells which function the current task is in. */
  constructor(innermostCall: () => string | undefined) {
    this.#innermostCall = innermostCall;
  }

  #count(pfn: number, level: number, by: number): void {
    for (let frame = pfn; frame < pfn + PAGES_OF_LEVEL[level]!; frame++) {
      this.#sptes.set(frame, (this.#sptes.get(frame) ?? 0) + by);
    }
  }
}
