import type { AccessKindName, AccessStep, CaseCpu, Registers, RmwForm, Word } from "./case.ts";

/*
 * The address space that most cases share: one linear address, T, whose four entries have known places.
 *
 *   CR3 -> 0x70000 PML4[1] -> 0x100000 PDPT[0] -> 0x101000 PD[0] -> 0x102000 PT[0x40] -> 0x110000 page A
 */

/** The linear address that most cases access. */
export const T = 0x80_0004_0000n;
/** CR3 of the fixture. */
export const ROOT = 0x7_0000n;
/** Physical address of T's PML4E. */
export const PML4E = 0x7_0008;
/** Physical address of T's PDPTE. */
export const PDPTE = 0x10_0000;
/** Physical address of T's PDE. */
export const PDE = 0x10_1000;
/** Physical address of T's PTE. */
export const PTE = 0x10_2200;
/** Physical address of the page that T leads to. */
export const PAGE_A = 0x11_0000;
/** Physical address of another page, for an entry that is changed. */
export const PAGE_B = 0x11_1000;

/** The four entries that lead to T: present, writable, user, A=0, D=0. */
export const FIXTURE_WORDS: readonly Word[] = [
  { pa: PML4E, value: 0x10_0007n },
  { pa: PDPTE, value: 0x10_1007n },
  { pa: PDE, value: 0x10_2007n },
  { pa: PTE, value: 0x11_0007n },
];

/** The CPU of the fixture. */
export const FIXTURE_CPU: CaseCpu = { vendor: "intel", maxphyaddr: 40, page1gb: true };

/** Switches that a case may turn, with the place of their bits. */
const SWITCHES = {
  wp: { register: "cr0", bit: 16n },
  pge: { register: "cr4", bit: 7n },
  la57: { register: "cr4", bit: 12n },
  pcide: { register: "cr4", bit: 17n },
  smep: { register: "cr4", bit: 20n },
  smap: { register: "cr4", bit: 21n },
  pke: { register: "cr4", bit: 22n },
  cet: { register: "cr4", bit: 23n },
  pks: { register: "cr4", bit: 24n },
  nxe: { register: "efer", bit: 11n },
} as const;
/** Names of the switches. */
export const SWITCH_NAMES = Object.keys(SWITCHES) as (keyof typeof SWITCHES)[];
/** Control bits that differ from the fixture's, by name; true turns one on. */
export type Switches = { readonly [S in keyof typeof SWITCHES]?: boolean };

/** The names of the switches that are on, as the manual writes them. */
export function switchesOn(registers: Registers): string[] {
  return switchNamesOn(registers).map((name) => name.toUpperCase());
}

/** The switches that are on in registers, of which some may be left out. */
export function switchNamesOn(registers: Partial<Registers>): (keyof typeof SWITCHES)[] {
  return SWITCH_NAMES.filter((name) => {
    const { register, bit } = SWITCHES[name];
    return (((registers[register] ?? 0n) >> bit) & 1n) !== 0n;
  });
}

/** PG, ET, PE; PAE; LMA and LME. */
const FIXED = { cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n };
const KEYS = { pkru: 0n, pkrs: 0n };

/** Registers in long mode, with WP and NXE on and the others off unless said otherwise. */
export function registersWith(on: Switches, more: Partial<Registers> = {}): Registers {
  const values = { ...FIXED };
  for (const name of SWITCH_NAMES) {
    const usual = name === "wp" || name === "nxe";
    if (on[name] ?? usual) values[SWITCHES[name].register] |= 1n << SWITCHES[name].bit;
  }
  return { ...values, ...KEYS, cr3: ROOT, ...more };
}

/** A set of bits as a word: what a table entry or a leaf has besides its address. */
export interface EntryBits {
  readonly p?: boolean;
  readonly w?: boolean;
  readonly u?: boolean;
  readonly xd?: boolean;
  /** A and D. */
  readonly ad?: boolean;
}

/** An entry: an address, or any value, with those bits set, too. */
export function entryWith(base: bigint, { p, w, u, xd, ad }: EntryBits): bigint {
  return base | (p ? 1n : 0n) | (w ? 2n : 0n) | (u ? 4n : 0n) | (ad ? 0x60n : 0n) | (xd ? 1n << 63n : 0n);
}

/** The words with some replaced and new ones behind. */
export function wordsWith(words: readonly Word[], changes: Iterable<readonly [number, bigint]>): Word[] {
  const values = new Map(words.map(({ pa, value }) => [pa, value]));
  for (const [pa, value] of changes) values.set(pa, value);
  return [...values].map(([pa, value]) => ({ pa, value }));
}

/** Who makes an access, and how much of it. */
export interface AccessDetails {
  readonly la?: bigint;
  readonly size?: AccessStep["size"];
  readonly ac?: boolean;
  readonly stack?: boolean;
  readonly by?: RmwForm;
}

/** An access at T by the kernel or by a user; 8 bytes, a fetch 1. */
export function accessStep(
  kind: AccessKindName,
  who: "sup" | "user",
  { la = T, size = kind === "fetch" ? 1 : 8, ac = false, stack = false, by }: AccessDetails = {},
): AccessStep {
  const step = { op: "access", kind, la, size, cpl: who === "user" ? 3 : 0, ac, stack } as const;
  return by === undefined ? step : { ...step, by };
}
