import type { LeafLevel, TlbGeometry, TlbStructure, TlbUse } from "./tlb-geometry.ts";

/** A structure of a TLB with the place of its sets and slots among those of all structures. */
export interface TlbBank extends TlbStructure {
  readonly index: number;
  /** Its first set. */
  readonly firstSet: number;
  /** Its first slot; those of a set are neighbours. */
  readonly firstSlot: number;
  /** What is left of a page number by a division by the sets, where they are a power of two; else -1. */
  readonly setMask: number;
}

/** One kind of access (read, write, fetch), as the banks serve it. */
export interface TlbService {
  /** By {@link rankAt}: the place of a bank and a page size in the order in which they are looked into; UNSERVED: never. */
  readonly ranks: Uint8Array;
  /** By page size: the banks that take a translation. */
  readonly fills: readonly (readonly TlbBank[])[];
  /** Of those, the ones of level 1. */
  readonly copies: readonly (readonly TlbBank[])[];
}

/** The rank of a bank that does not serve a kind of access. */
export const UNSERVED = 0xff;

/** Which uses serve a read, a write and a fetch (ACCESS_* & 3). */
const SERVES: readonly (readonly TlbUse[])[] = [
  ["data", "load", "unified"],
  ["data", "store", "unified"],
  ["instruction", "unified"],
];

/** Page sizes and the 0 before them. */
const SIZES = 4;

/** Index of a bank and a page size in {@link TlbService.ranks}. */
export function rankAt(bank: number, size: number): number {
  return bank * SIZES + size;
}

export function banksOf(geometry: TlbGeometry): TlbBank[] {
  let firstSet = 0;
  let firstSlot = 0;
  return geometry.map((structure, index) => {
    const { sets, ways } = structure;
    const setMask = (sets & (sets - 1)) === 0 ? sets - 1 : -1;
    const bank = { ...structure, index, firstSet, firstSlot, setMask };
    firstSet += sets;
    firstSlot += sets * ways;
    return bank;
  });
}

/** By ACCESS_* & 3. */
export function servicesOf(banks: readonly TlbBank[]): TlbService[] {
  return SERVES.map((uses) => {
    const serving = banks.filter(({ use }) => uses.includes(use));
    const ranks = new Uint8Array(banks.length * SIZES).fill(UNSERVED);
    for (const [rank, { bank, size }] of probesOf(serving).entries()) ranks[rankAt(bank.index, size)] = rank;
    const fills = Array.from({ length: SIZES }, (_, size) =>
      serving.filter(({ sizes }) => sizes.some((one) => one === size)),
    );
    // What a lookup finds first has no copy before it.
    const ordered = fills.map((list) => list.toSorted((a, b) => a.level - b.level));
    return { ranks, fills: ordered, copies: ordered.map((list) => list.filter(({ level }) => level === 1)) };
  });
}

/** Level 1 before level 2, small pages before large ones. */
function probesOf(banks: readonly TlbBank[]): { readonly bank: TlbBank; readonly size: LeafLevel }[] {
  const probes = banks.flatMap((bank) => bank.sizes.map((size) => ({ bank, size })));
  return probes.sort((a, b) => a.bank.level - b.bank.level || a.size - b.size);
}
