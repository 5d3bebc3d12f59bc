import type { AccessKindName, AccessStep, CaseQuestion, Registers, Word } from "./case.ts";
import {
  accessStep,
  entryWith,
  FIXTURE_CPU,
  FIXTURE_WORDS,
  PDE,
  PDPTE,
  PML4E,
  PTE,
  registersWith,
  wordsWith,
} from "./fixture.ts";

/** The first reserved bit at MAXPHYADDR 40. */
const HIGH = 1n << 40n;
/** R/W and U/S of the top entry. */
const TOPS = [
  { w: true, u: true },
  { w: false, u: true },
  { w: true, u: false },
] as const;
const KINDS: readonly AccessKindName[] = ["read", "write", "fetch"];
/** Three kinds, two privileges, with and without a supervisor read before. */
const ACCESSES = 12;

/** Takes a number apart, the fastest digit first. */
class Digits {
  #rest: number;

  constructor(index: number) {
    this.#rest = index;
  }

  below(bound: number): number {
    const digit = this.#rest % bound;
    this.#rest = Math.floor(this.#rest / bound);
    return digit;
  }

  bit(): boolean {
    return this.below(2) === 1;
  }
}

function question(
  group: string,
  index: number,
  registers: Registers,
  memory: readonly Word[],
  steps: CaseQuestion["steps"],
): CaseQuestion {
  return { id: `${group}/${String(index).padStart(6, "0")}`, cpu: FIXTURE_CPU, registers, memory, steps };
}

/** The access of a matrix, and the read that warms the TLB if there is one. */
function accesses(digits: Digits, ac: boolean): { warm: AccessStep[]; access: AccessStep } {
  const kind = KINDS[digits.below(3)]!;
  const user = digits.bit();
  const warm = digits.bit() ? [accessStep("read", "sup", { ac: true })] : [];
  return { warm, access: accessStep(kind, user ? "user" : "sup", { ac: ac && !user }) };
}

/** P, R/W, U/S, XD of PDE and PTE, A and D of the PTE, a reserved bit in each. */
interface Pair {
  readonly pde: bigint;
  readonly pte: bigint;
}

/** All pairs with at most one reserved condition; XD is one while NXE=0. */
function pairs(nxe: boolean): Pair[] {
  const found: Pair[] = [];
  for (let n = 0; n < 2048; n++) {
    const digits = new Digits(n);
    const rights = () => ({ p: digits.bit(), w: digits.bit(), u: digits.bit(), xd: digits.bit() });
    const d = rights();
    const t = { ...rights(), ad: digits.bit() };
    const [dHigh, tHigh] = [digits.bit(), digits.bit()];
    const conditions = [dHigh, tHigh, d.xd && !nxe, t.xd && !nxe].filter(Boolean).length;
    if (conditions > 1) continue;
    const pde = entryWith(0x10_2000n, d) | (dHigh ? HIGH : 0n);
    found.push({ pde, pte: entryWith(0x11_0000n, t) | (tHigh ? HIGH : 0n) });
  }
  return found;
}

/** Registers of M1 by NXE, WP, SMEP, SMAP: the same object for a million cases. */
const M1_REGISTERS = Array.from({ length: 16 }, (_, n) => {
  const digits = new Digits(n);
  return registersWith({ nxe: digits.bit(), wp: digits.bit(), smep: digits.bit(), smap: digits.bit() });
});
const PAIRS = { off: pairs(false), on: pairs(true) };
/** WP, SMEP, three states of SMAP and AC; the top entry. */
const M1_SETTINGS = 12 * TOPS.length;
const M1_WITHOUT_NXE = M1_SETTINGS * PAIRS.off.length * ACCESSES;
export const M1_SIZE = M1_WITHOUT_NXE + M1_SETTINGS * PAIRS.on.length * ACCESSES;

/** Case of M1, a 4-KiB page: every right of PDE and PTE, reserved bits, control bits, accesses. */
export function m1(index: number): CaseQuestion {
  const nxe = index >= M1_WITHOUT_NXE;
  const digits = new Digits(nxe ? index - M1_WITHOUT_NXE : index);
  const accessDigit = new Digits(digits.below(ACCESSES));
  const list = nxe ? PAIRS.on : PAIRS.off;
  const { pde, pte } = list[digits.below(list.length)]!;
  const top = TOPS[digits.below(TOPS.length)]!;
  const [wp, smep] = [digits.below(2), digits.below(2)];
  const smapState = digits.below(3);
  const { warm, access } = accesses(accessDigit, smapState === 2);
  const memory = wordsWith(FIXTURE_WORDS, [
    [PML4E, entryWith(0x10_0021n, top)],
    [PDE, pde],
    [PTE, pte],
  ]);
  const registers = M1_REGISTERS[Number(nxe) + 2 * wp + 4 * smep + (smapState > 0 ? 8 : 0)]!;
  return question("m1", index, registers, memory, [...warm, access]);
}

/** Low reserved bits of a leaf: none, the lowest, the highest. */
const M2_LOW = { pde: [0n, 1n << 13n, 1n << 20n], pdpte: [0n, 1n << 13n, 1n << 29n] } as const;

/** All large leaves with at most one reserved condition, without their frame. */
function largeLeaves(low: readonly bigint[], nxe: boolean): bigint[] {
  const found: bigint[] = [];
  for (let n = 0; n < 384; n++) {
    const digits = new Digits(n);
    const bits = { p: digits.bit(), w: digits.bit(), u: digits.bit(), xd: digits.bit() };
    const [pat, ad] = [digits.bit(), digits.bit()];
    const lowBit = low[digits.below(3)]!;
    const high = digits.bit();
    const conditions = [lowBit !== 0n, high, bits.xd && !nxe].filter(Boolean).length;
    if (conditions > 1) continue;
    found.push(entryWith(0x80n, { ...bits, ad }) | lowBit | (pat ? 0x1000n : 0n) | (high ? HIGH : 0n));
  }
  return found;
}

const LEAVES = {
  pde: { off: largeLeaves(M2_LOW.pde, false), on: largeLeaves(M2_LOW.pde, true) },
  pdpte: { off: largeLeaves(M2_LOW.pdpte, false), on: largeLeaves(M2_LOW.pdpte, true) },
};
/** Two sizes, WP, the top entry. */
const M2_SETTINGS = 2 * 2 * TOPS.length;
const M2_WITHOUT_NXE = M2_SETTINGS * LEAVES.pde.off.length * ACCESSES;
export const M2_SIZE = M2_WITHOUT_NXE + M2_SETTINGS * LEAVES.pde.on.length * ACCESSES;

/** Case of M2: pages of 2 MiB and 1 GiB. */
export function m2(index: number): CaseQuestion {
  const nxe = index >= M2_WITHOUT_NXE;
  const digits = new Digits(nxe ? index - M2_WITHOUT_NXE : index);
  const accessDigit = new Digits(digits.below(ACCESSES));
  const count = LEAVES.pde[nxe ? "on" : "off"].length;
  const leaf = digits.below(count);
  const huge = digits.bit();
  const wp = digits.bit();
  const top = TOPS[digits.below(TOPS.length)]!;
  const value = LEAVES[huge ? "pdpte" : "pde"][nxe ? "on" : "off"][leaf]!;
  const { warm, access } = accesses(accessDigit, false);
  const memory: Word[] = [
    { pa: PML4E, value: entryWith(0x10_0021n, top) },
    { pa: PDPTE, value: huge ? value : 0x10_1007n },
    ...(huge ? [] : [{ pa: PDE, value: value | 0x20_0000n }]),
  ];
  return question("m2", index, registersWith({ nxe, wp }), memory, [...warm, access]);
}

export const M3_SIZE = 512 * ACCESSES;

/** Case of M3: protection keys. The rights registers are 0 during the first read and set right before the access. */
export function m3(index: number): CaseQuestion {
  const digits = new Digits(index);
  const accessDigit = new Digits(digits.below(ACCESSES));
  const [pke, pks, wp] = [digits.bit(), digits.bit(), digits.bit()];
  const rights = BigInt(digits.below(4)) << 2n;
  const key = digits.bit() ? 1n << 59n : 0n;
  const top = { w: true, u: digits.bit() };
  const leaf = { p: true, w: digits.bit(), u: digits.bit() };
  const { warm, access } = accesses(accessDigit, false);
  const memory = wordsWith(FIXTURE_WORDS, [
    [PML4E, entryWith(0x10_0001n, top)],
    [PTE, entryWith(0x11_0000n, leaf) | key],
  ]);
  const keys = { ...(pke ? { pkru: rights } : {}), ...(pks ? { pkrs: rights } : {}) };
  const set = pke || pks ? [{ op: "control", ...keys } as const] : [];
  return question("m3", index, registersWith({ pke, pks, wp }), memory, [...warm, ...set, access]);
}
