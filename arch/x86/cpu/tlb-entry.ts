import { PTE_D, PTE_G } from "./entry-layout.ts";

/** Bit of a TLB entry's flags, beside the raw rights (RIGHT_*): the leaf's D as cached. */
export const TLB_DIRTY: number = PTE_D;
/** Bit of a TLB entry's flags: the leaf's G, while CR4.PGE = 1. */
export const TLB_GLOBAL: number = PTE_G;

/** What a lookup returns when nothing matches. */
export const TLB_MISS = -1;

/** One cached translation, for people and tools to look at. */
export interface TlbEntry {
  /** Linear address of the page, aligned to its size. */
  page: number;
  /** Leaf level: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB. */
  level: number;
  /** The PCID it was filled under; a global entry serves the others too. */
  pcid: number;
  global: boolean;
  /** First 4-KiB frame of the page. */
  pfn: number;
  /** RIGHT_* bits with the key. */
  rights: number;
  dirty: boolean;
  /** The structure that holds it, e.g. "L1 data"; a TLB of one structure leaves it out. */
  structure?: string;
}
