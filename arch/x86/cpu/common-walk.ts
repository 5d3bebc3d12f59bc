import { ACCESS_WRITE, RIGHT_U } from "./access-rights.ts";
import type { ControlRegisters } from "./control-registers.ts";
import { PTE_A, PTE_D, PTE_P, PTE_PS } from "./entry-layout.ts";
import { WALK_OK } from "./page-fault.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import type { WalkResult } from "./walk-result.ts";
import { deniedBy, rightsOf } from "./walk-rights.ts";

// A module's own const is a constant to V8, an imported one is read from its cell at each use.
const WRITE = ACCESS_WRITE;
const U = RIGHT_U;
const P = PTE_P;
const A = PTE_A;
const D = PTE_D;
const PS = PTE_PS;
const OK = WALK_OK;
/** Frame bits of a high word: a table with one of them is beyond 4 GiB. */
const FRAME_HI = 0xf_ffff;
/** Of the index of an entry's first word: what the table's address gives, and what the linear address gives. */
const TABLE = 0x3fff_fc00;
const INDEX = 0x3fe;

/**
 * The walk that nearly all walks are, unrolled: four levels from the root, tables below 4 GiB in memory of its own, a page
 * of 4 KiB or 2 MiB that the access may have, A and D set already. It fills `result` as the loop of {@link walk} does; or
 * it returns false, and the loop decides everything. Its linear address is in the result.
 */
export function walkCommonly(
  memory: PhysicalMemory,
  control: ControlRegisters,
  kind: number,
  mode: number,
  result: WalkResult,
): boolean {
  const { words, lastWord } = memory;
  const { rootLo, reservedHi } = control;
  const { linearLo, linearHi } = result;
  const seldom = reservedHi | FRAME_HI;
  if (control.levels !== 4 || control.rootHi !== 0 || control.keyRight !== U) return false;

  let slot = ((rootLo >>> 2) & TABLE) | ((linearHi >>> 6) & INDEX);
  if (slot > lastWord) return false;
  const lo4 = words[slot]!;
  const hi4 = words[slot + 1]!;
  if ((lo4 & (P | PS | control.reservedTop)) !== P || (hi4 & seldom) !== 0) return false;

  slot = ((lo4 >>> 2) & TABLE) | (((linearHi << 3) | (linearLo >>> 29)) & INDEX);
  if (slot > lastWord) return false;
  const lo3 = words[slot]!;
  const hi3 = words[slot + 1]!;
  if ((lo3 & (P | PS)) !== P || (hi3 & seldom) !== 0) return false;

  slot = ((lo3 >>> 2) & TABLE) | ((linearLo >>> 20) & INDEX);
  if (slot > lastWord) return false;
  const lo2 = words[slot]!;
  const hi2 = words[slot + 1]!;
  if ((lo2 & P) === 0) return false;
  const anyHi = hi4 | hi3;
  const above = lo4 & lo3;
  if ((lo2 & PS) !== 0) {
    if ((lo2 & control.reserved2m) !== 0 || (hi2 & reservedHi) !== 0) return false;
    return reach(control, kind, mode, result, 2, above, anyHi | hi2, lo2, hi2, lo3, hi3);
  }
  if ((hi2 & seldom) !== 0) return false;

  slot = ((lo2 >>> 2) & TABLE) | ((linearLo >>> 11) & INDEX);
  if (slot > lastWord) return false;
  const lo1 = words[slot]!;
  const hi1 = words[slot + 1]!;
  if ((lo1 & P) === 0 || (hi1 & reservedHi) !== 0) return false;
  return reach(control, kind, mode, result, 1, above & lo2, anyHi | hi2 | hi1, lo1, hi1, lo2, hi2);
}

/** A leaf was reached: whether the access may have it and nothing is to be set in memory. */
function reach(
  control: ControlRegisters,
  kind: number,
  mode: number,
  result: WalkResult,
  level: number,
  above: number,
  anyHi: number,
  lo: number,
  hi: number,
  tableLo: number,
  tableHi: number,
): boolean {
  const rights = rightsOf(above, anyHi, lo, hi);
  if (deniedBy(control, rights, kind, mode) !== 0) return false;
  if (((~above & A) | (~lo & ((kind & WRITE) !== 0 ? A | D : A))) !== 0) return false;
  result.code = OK;
  result.denied = 0;
  result.top = 4;
  result.level = level;
  result.lo = lo;
  result.hi = hi;
  result.tableLo = tableLo;
  result.tableHi = tableHi;
  result.above = above;
  result.dirty = (lo & D) !== 0;
  result.rights = rights;
  return true;
}
