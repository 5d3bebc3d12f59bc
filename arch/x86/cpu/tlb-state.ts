import { RIGHT_KEYED, RIGHT_SHADOW_STACK, RIGHT_U, RIGHT_W, RIGHT_XD } from "./access-rights.ts";
import { BYTES_OF_LEVEL, Linear, Pfn } from "./address.ts";
import { linearHi, linearLo } from "./linear-address.ts";
import type { TlbEntry } from "./tlb-entry.ts";
import type { WalkResult } from "./walk-result.ts";

/** A translation of a saved TLB. */
export interface SavedTranslation extends TlbEntry {
  /** Its place in a TLB of structures, counted through all of them, set by set; a TLB of one table leaves it out. */
  readonly slot?: number;
}

/** A large page that a TLB keeps in pieces. */
export interface SavedLargePage {
  readonly level: 2 | 3;
  readonly page: number;
  readonly pcid: number;
  readonly global: boolean;
  /** Linear addresses of the pieces that may be held. */
  readonly pieces: readonly number[];
}

/** All that a TLB holds, as plain data that JSON carries. */
export interface TlbState {
  readonly policy: string;
  /** In a TLB that makes room, set by set, the one used longest ago first. */
  readonly entries: readonly SavedTranslation[];
  /** The generator of random replacement, where there is one. */
  readonly random?: number;
  readonly large?: readonly SavedLargePage[];
}

/** Throws RangeError, naming it, for a state that is another policy's. */
export function checkPolicy(own: string, state: TlbState): void {
  if (state.policy !== own) throw new RangeError(`state of a TLB "${state.policy}": this one is "${own}"`);
}

const RIGHTS = RIGHT_W | RIGHT_U | RIGHT_XD | RIGHT_SHADOW_STACK | RIGHT_KEYED | (0xf << 16);

/** Throws RangeError, naming it, for a translation that no TLB can hold. */
export function checkTranslation({ page, level, pcid, pfn, rights }: TlbEntry): void {
  const bytes = BYTES_OF_LEVEL[level] ?? 0;
  if (!(level === 1 || level === 2 || level === 3))
    throw new RangeError(`saved translation of level ${level}`);
  checkPcid(pcid);
  if (Linear.of(page) % bytes !== 0) throw new RangeError(`saved page ${page}: give a multiple of ${bytes}`);
  if (Pfn.of(pfn) % (bytes / 4096) !== 0) {
    throw new RangeError(`saved frame ${pfn}: give a multiple of ${bytes / 4096}`);
  }
  if (!Number.isInteger(rights) || (rights & ~RIGHTS) !== 0) throw new RangeError(`saved rights ${rights}`);
}

/** Throws RangeError for what is no PCID. */
export function checkPcid(pcid: number): void {
  if (!(Number.isInteger(pcid) && pcid >= 0 && pcid < 4096))
    throw new RangeError(`saved PCID ${pcid}: give 0 to 4095`);
}

/** The walk that would have filled a translation, in `into`. */
export function walkOf({ page, level, pfn, rights, dirty }: TlbEntry, into: WalkResult): WalkResult {
  into.level = level;
  into.linearLo = linearLo(page);
  into.linearHi = linearHi(page);
  into.lo = (pfn % 2 ** 20) << 12;
  into.hi = Math.floor(pfn / 2 ** 20);
  into.rights = rights;
  into.dirty = dirty;
  return into;
}
