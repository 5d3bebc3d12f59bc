import { BYTES_OF_LEVEL, NONE } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { ByteRange } from "./byte-range.ts";
import type { Change } from "./debt.ts";
import type { Journal } from "./journal.ts";
import { type OnPfn, PfnIndex } from "./pfn-index.ts";

/** A secondary MMU. */
export interface Listener {
  readonly id: number;
  readonly space: number;
  readonly type: "kvm" | "device" | "other";
  readonly ops: ReadonlySet<string>;
}

/** A second-stage entry as the records told of it. */
export interface Spte extends OnPfn<Spte> {
  readonly guest: Guest;
  readonly gfn: number;
  /** Host's linear address of its first byte; its first frame is `pfn`. */
  readonly hva: number;
  readonly writable: boolean;
  dirty: boolean;
  /** The last weakening of a host entry behind it. */
  hostChange: Change | null;
  /** Those of its frames that were freed under it: a finding of their own, once. */
  freed: Set<number> | null;
}

/** A KVM-like listener with what it holds. */
export interface Guest extends Listener {
  /** By linear address divided by size: 4K sptes, 2M sptes. */
  readonly small: Map<number, Spte>;
  readonly large: Map<number, Spte>;
  /** Ranges whose range_start it has been called for, and range_end not yet. */
  openRanges: readonly ByteRange[];
  /** How many more were open already when it was first heard of; their bounds are not known. */
  openBefore: number;
  /** mmu_notifier_seq, NONE before it was told. */
  seq: number;
  /** It was called for an end of an invalidation and has not told its counters since. */
  seqDue: boolean;
}

/** Every listener, and every spte of every guest, by frame and by linear address: no guess, for they are told one by one. */
export class Listeners {
  readonly byPfn = new PfnIndex<Spte>();
  readonly #journal: Journal;
  readonly #byId = new Map<number, Listener>();
  readonly #guests = new Map<number, Guest>();
  readonly #guestsOf = new Map<number, Guest[]>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  registered({
    listener: id,
    space,
    listenerType: type,
    ops,
  }: TraceRecordOf<"listener-registered">): Listener {
    const listener = { id, space, type, ops: new Set(ops) };
    if (type !== "kvm") {
      this.#add(listener);
      return listener;
    }
    const guest: Guest = {
      ...listener,
      small: new Map(),
      large: new Map(),
      openRanges: [],
      openBefore: 0,
      seq: NONE,
      seqDue: false,
    };
    this.#add(guest);
    return guest;
  }

  #add(listener: Listener | Guest): void {
    this.#byId.set(listener.id, listener);
    if ("openRanges" in listener) this.#addGuest(listener);
    if (this.#journal.active) this.#journal.note(() => this.#remove(listener));
  }

  #addGuest(guest: Guest): void {
    this.#guests.set(guest.id, guest);
    const guests = this.#guestsOf.get(guest.space);
    if (guests === undefined) this.#guestsOf.set(guest.space, [guest]);
    else guests.push(guest);
  }

  #remove(listener: Listener | Guest): void {
    this.#byId.delete(listener.id);
    if ("openRanges" in listener) {
      this.#guests.delete(listener.id);
      const guests = this.#guestsOf.get(listener.space)!;
      guests.splice(guests.indexOf(listener), 1);
    }
    if (this.#journal.active) this.#journal.note(() => this.#add(listener));
  }

  get(id: number): Listener | undefined {
    return this.#byId.get(id);
  }

  all(): Iterable<Listener> {
    return this.#byId.values();
  }

  /** The listeners of an address space. */
  of(space: number): Listener[] {
    return [...this.#byId.values()].filter((listener) => listener.space === space);
  }

  /** The guest of that listener, or null: other listeners have no sptes. */
  guest(id: number): Guest | null {
    return this.#guests.get(id) ?? null;
  }

  guests(): Iterable<Guest> {
    return this.#guests.values();
  }

  unregistered(id: number): void {
    const guest = this.#guests.get(id);
    if (guest !== undefined) {
      for (const spte of [...guest.small.values(), ...guest.large.values()]) this.#drop(guest, spte);
    }
    const listener = guest ?? this.#byId.get(id);
    if (listener !== undefined) this.#remove(listener);
  }

  installed(record: TraceRecordOf<"spte-installed">): void {
    const guest = this.guest(record.listener);
    if (guest === null) return;
    const hva = linearNumber(record.linearLo, record.linearHi);
    const spte: Spte = {
      guest,
      gfn: record.gfn,
      level: record.level,
      pfn: record.pfn,
      hva,
      writable: record.writable,
      dirty: record.dirty,
      hostChange: null,
      freed: null,
      nextOnPfn: null,
      previousOnPfn: null,
    };
    const replaced = mapOf(guest, spte.level).get(keyOf(spte));
    if (replaced !== undefined) this.#drop(guest, replaced);
    this.#put(guest, spte);
  }

  dropped({ listener, level, linearLo, linearHi }: TraceRecordOf<"spte-dropped">): void {
    const guest = this.guest(listener);
    if (guest === null) return;
    const spte = mapOf(guest, level).get(linearNumber(linearLo, linearHi) / BYTES_OF_LEVEL[level]!);
    if (spte !== undefined) this.#drop(guest, spte);
  }

  /** Follows the ranges that a guest was told of. */
  called({ listener, op, linearLo, linearHi, bytes, all }: TraceRecordOf<"listener-called">): void {
    const guest = this.guest(listener);
    if (guest === null) return;
    const start = linearNumber(linearLo, linearHi);
    const length = all ? Infinity : bytes;
    if (op === "invalidate_range_start") {
      this.#journal.keep(guest, "openRanges");
      guest.openRanges = [...guest.openRanges, { start, length }];
      return;
    }
    if (op === "invalidate_range_end") this.#closeRange(guest, start, length);
    else if (op !== "invalidate_page" && op !== "change_pte") return;
    this.#journal.keep(guest, "seqDue");
    guest.seqDue = true;
  }

  #closeRange(guest: Guest, start: number, length: number): void {
    const at = guest.openRanges.findIndex((open) => open.start === start && open.length === length);
    if (at >= 0) {
      this.#journal.keep(guest, "openRanges");
      guest.openRanges = guest.openRanges.toSpliced(at, 1);
    } else if (guest.openBefore > 0) {
      this.#journal.keep(guest, "openBefore");
      guest.openBefore = guest.openBefore - 1;
    }
  }

  /** A guest told its counters. */
  counters({ listener, notifierSeq, notifierCount }: TraceRecordOf<"kvm-counters">): void {
    const guest = this.guest(listener);
    if (guest === null) return;
    if (guest.seq === NONE) {
      this.#journal.keep(guest, "openBefore");
      guest.openBefore = notifierCount - guest.openRanges.length;
    }
    this.#journal.keep(guest, "seq");
    guest.seq = notifierSeq;
    this.#journal.keep(guest, "seqDue");
    guest.seqDue = false;
  }

  #put(guest: Guest, spte: Spte): void {
    mapOf(guest, spte.level).set(keyOf(spte), spte);
    this.byPfn.add(spte);
    if (this.#journal.active) this.#journal.note(() => this.#drop(guest, spte));
  }

  #drop(guest: Guest, spte: Spte): void {
    mapOf(guest, spte.level).delete(keyOf(spte));
    this.byPfn.remove(spte);
    if (this.#journal.active) this.#journal.note(() => this.#put(guest, spte));
  }

  /** A guest stored through the spte behind an address. */
  stored(guest: Guest, hva: number): void {
    const spte = spteAt(guest, hva);
    if (spte === undefined || spte.dirty) return;
    this.#journal.keep(spte, "dirty");
    spte.dirty = true;
  }

  /** One of an spte's frames was freed under it. */
  freed(spte: Spte, pfn: number): void {
    spte.freed ??= new Set();
    const { freed } = spte;
    if (freed.has(pfn)) return;
    freed.add(pfn);
    if (this.#journal.active) this.#journal.note(() => freed.delete(pfn));
  }

  /** Notes on the sptes behind a host entry of that address space that the entry was weakened. */
  hostChanged(space: number, change: Change): void {
    const { page, level } = change.leaf;
    for (const guest of this.#guestsOf.get(space) ?? []) {
      const large = guest.large.get(Math.floor(page / BYTES_OF_LEVEL[2]!));
      if (large !== undefined) this.#setHostChange(large, change);
      if (guest.small.size === 0) continue;
      const first = page / BYTES_OF_LEVEL[1]!;
      const last = first + BYTES_OF_LEVEL[level]! / BYTES_OF_LEVEL[1]!;
      if (last - first > guest.small.size) {
        for (const [key, spte] of guest.small)
          if (key >= first && key < last) this.#setHostChange(spte, change);
        continue;
      }
      for (let key = first; key < last; key++) {
        const spte = guest.small.get(key);
        if (spte !== undefined) this.#setHostChange(spte, change);
      }
    }
  }

  #setHostChange(spte: Spte, change: Change): void {
    this.#journal.keep(spte, "hostChange");
    spte.hostChange = change;
  }
}

/** The spte that translates a host's linear address, if any. */
export function spteAt(guest: Guest, hva: number): Spte | undefined {
  return (
    guest.small.get(Math.floor(hva / BYTES_OF_LEVEL[1]!)) ??
    guest.large.get(Math.floor(hva / BYTES_OF_LEVEL[2]!))
  );
}

/** The open range of a guest that holds an address, if any. */
export function openRangeAt(guest: Guest, address: number): ByteRange | undefined {
  if (guest.openRanges.length === 0) return undefined;
  return guest.openRanges.find((open) => address >= open.start && address < open.start + open.length);
}

function mapOf(guest: Guest, level: number): Map<number, Spte> {
  return level === 2 ? guest.large : guest.small;
}

function keyOf({ hva, level }: Spte): number {
  return hva / BYTES_OF_LEVEL[level]!;
}
