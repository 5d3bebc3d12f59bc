import type { MemoryType } from "./pat.ts";

/** Instructions that write back or drop one cache line (SDM vol. 2). */
export const LINE_FLUSHES = ["CLFLUSH", "CLFLUSHOPT", "CLWB"] as const;
/** An instruction that writes back or drops one cache line. */
export type LineFlush = (typeof LINE_FLUSHES)[number];

/** Instructions that write back or drop all caches (SDM vol. 2). */
export const CACHE_FLUSHES = ["WBINVD", "WBNOINVD", "INVD"] as const;
/** An instruction that writes back or drops all caches. */
export type CacheFlush = (typeof CACHE_FLUSHES)[number];

/** Bytes of a cache line. */
export const CACHE_LINE = 64;

/**
 * What a machine, which has no data caches, tells to whoever models them. Each is called when the instruction has passed
 * its checks, or when a walk has found a translation; what is left out is not called.
 */
export interface CacheHook {
  /** A line is flushed: physical address of its first byte. */
  line?(cpu: number, instruction: LineFlush, physical: number): void;
  /** All caches of a CPU are. */
  all?(cpu: number, instruction: CacheFlush): void;
  /**
   * A walk found a page's translation, which the TLB may answer with from now on: physical address of the page, its
   * bytes, and its memory type by MTRR and PAT.
   */
  walked?(cpu: number, page: number, bytes: number, type: MemoryType): void;
}
