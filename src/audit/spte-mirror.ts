import type { mm_struct } from "../mm/mm_struct.ts";
import { BYTES_OF_LEVEL, FrameIndex, type OnFrame } from "./frame-index.ts";
import type { ByteRange, Change } from "./ghost-tlb.ts";

/** An spte as the events told of it. */
export interface MirroredSpte extends OnFrame<MirroredSpte> {
  readonly guest: Guest;
  readonly gfn: number;
  /** Linear address of its first byte; its first frame is `frame`. */
  readonly hva: number;
  readonly writable: boolean;
  dirty: boolean;
  /** The last weakening of a host entry behind it. */
  hostChange: Change | null;
  /** Those of its frames that were freed under it: a finding of their own, once. */
  freed: Set<number> | null;
}

/** One watched KVM. */
export interface Guest {
  readonly name: string;
  readonly mm: mm_struct;
  /** By linear address divided by size: 4K sptes, 2M sptes. */
  readonly small: Map<number, MirroredSpte>;
  readonly large: Map<number, MirroredSpte>;
  /** Ranges whose range_start it has been called for, and range_end not yet. */
  readonly openRanges: ByteRange[];
  /** How many more were open already when it began to be watched; their bounds are not known. */
  openBefore: number;
  seq: number;
  /** It was called for an end of an invalidation and has not reported its counters since. */
  seqDue: boolean;
}

export interface SpteState {
  readonly gfn: number;
  readonly level: number;
  readonly pfn: number;
  readonly hva: number;
  readonly writable: boolean;
  readonly dirty: boolean;
}

/** Every spte of every watched KVM, by frame and by linear address: no guess, for they are reported one by one. */
export class SpteMirror {
  readonly byFrame = new FrameIndex<MirroredSpte>();
  readonly #guests = new Map<mm_struct, Guest[]>();

  watch(name: string, mm: mm_struct, seq: number, openBefore: number): Guest {
    const guest: Guest = {
      name,
      mm,
      small: new Map(),
      large: new Map(),
      openRanges: [],
      openBefore,
      seq,
      seqDue: false,
    };
    const guests = this.#guests.get(mm);
    if (guests === undefined) this.#guests.set(mm, [guest]);
    else guests.push(guest);
    return guest;
  }

  of(mm: mm_struct): readonly Guest[] {
    return this.#guests.get(mm) ?? [];
  }

  *guests(): IterableIterator<Guest> {
    for (const guests of this.#guests.values()) yield* guests;
  }

  /** The watched KVM of that name, or null: other listeners have no sptes. */
  find(name: string, mm: mm_struct): Guest | null {
    const guests = this.#guests.get(mm);
    if (guests === undefined) return null;
    for (const guest of guests) if (guest.name === name) return guest;
    return null;
  }

  install(guest: Guest, state: SpteState): MirroredSpte {
    const key = state.hva / BYTES_OF_LEVEL[state.level]!;
    const map = state.level === 2 ? guest.large : guest.small;
    const replaced = map.get(key);
    if (replaced !== undefined) this.byFrame.remove(replaced);
    const spte: MirroredSpte = {
      guest,
      gfn: state.gfn,
      level: state.level,
      frame: state.pfn,
      hva: state.hva,
      writable: state.writable,
      dirty: state.dirty,
      hostChange: null,
      freed: null,
      nextOnFrame: null,
      previousOnFrame: null,
    };
    map.set(key, spte);
    this.byFrame.add(spte);
    return spte;
  }

  zap(guest: Guest, level: number, hva: number): void {
    const map = level === 2 ? guest.large : guest.small;
    const key = hva / BYTES_OF_LEVEL[level]!;
    const spte = map.get(key);
    if (spte === undefined) return;
    map.delete(key);
    this.byFrame.remove(spte);
  }

  used(guest: Guest, hva: number, write: boolean): void {
    const spte = guest.small.get(Math.floor(hva / 4096)) ?? guest.large.get(Math.floor(hva / 2 ** 21));
    if (spte !== undefined && write) spte.dirty = true;
  }

  /** Notes on the sptes behind a host entry that the entry was weakened. */
  hostChanged(change: Change): void {
    const { mm, page, level } = change.leaf;
    for (const guest of this.of(mm)) {
      const large = guest.large.get(Math.floor(page / 2 ** 21));
      if (large !== undefined) large.hostChange = change;
      if (guest.small.size === 0) continue;
      const first = page / 4096;
      const last = first + BYTES_OF_LEVEL[level]! / 4096;
      if (last - first > guest.small.size) {
        for (const [key, spte] of guest.small) if (key >= first && key < last) spte.hostChange = change;
      } else {
        for (let key = first; key < last; key++) {
          const spte = guest.small.get(key);
          if (spte !== undefined) spte.hostChange = change;
        }
      }
    }
  }
}
