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

/** How the banks serve accesses: lists by {@link servedAt}. */
export interface TlbService {
  /** The banks that take a translation. */
  readonly fills: readonly (readonly TlbBank[])[];
  /** Of those, the ones of level 1. */
  readonly copies: readonly (readonly TlbBank[])[];
  /** By {@link rankAt}: the place of a bank in the order in which they are looked into; UNSERVED: never. */
  readonly ranks: Uint8Array;
}

/** The rank of a bank that does not serve a kind of access. */
export const UNSERVED = 0xff;

/** Which uses serve a read, a write and a fetch (ACCESS_* & 3). */
const SERVES: readonly (readonly TlbUse[])[] = [
  ["data", "load", "unified"],
  ["data", "store", "unified"],
  ["instruction", "unified"],
];

/** The place of a kind of access (ACCESS_*) and a page size in the lists. */
export function servedAt(kind: number, size: number): number {
  return ((kind & 3) << 2) | size;
}

/** The place of a bank there in {@link TlbService.ranks}. */
export function rankAt(served: number, bank: number): number {
  return (bank << 4) | served;
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

export function serviceOf(banks: readonly TlbBank[]): TlbService {
  const ranks = new Uint8Array(rankAt(0, banks.length)).fill(UNSERVED);
  const fills: TlbBank[][] = Array.from({ length: rankAt(0, 1) }, () => []);
  for (const [kind, uses] of SERVES.entries()) {
    const probes = probesOf(banks.filter(({ use }) => uses.includes(use)));
    for (const [rank, { bank, size }] of probes.entries()) {
      ranks[rankAt(servedAt(kind, size), bank.index)] = rank;
      fills[servedAt(kind, size)]!.push(bank);
    }
  }
  return { ranks, fills, copies: fills.map((list) => list.filter(({ level }) => level === 1)) };
}

/** Level 1 before level 2, small pages before large ones. */
function probesOf(banks: readonly TlbBank[]): { readonly bank: TlbBank; readonly size: LeafLevel }[] {
  const probes = banks.flatMap((bank) => bank.sizes.map((size) => ({ bank, size })));
  return probes.sort((a, b) => a.bank.level - b.bank.level || a.size - b.size);
}
