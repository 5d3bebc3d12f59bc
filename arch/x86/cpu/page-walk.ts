import { ACCESS_WRITE, RIGHT_KEYED, RIGHT_U } from "./access-rights.ts";
import { walkCommonly } from "./common-walk.ts";
import type { ControlRegisters } from "./control-registers.ts";
import type { CpuModel } from "./cpu-model.ts";
import { Entry, frameOf } from "./entry.ts";
import { kindOf, PTE_A, PTE_D, PTE_P, PTE_PS, PTE_W } from "./entry-layout.ts";
import { WALK_DENIED, WALK_NOT_PRESENT, WALK_OK, WALK_RESERVED } from "./page-fault.ts";
import type { PhysicalMemory } from "./physical-memory.ts";
import { type PathStep, tableIndex, type WalkOptions, type WalkResult } from "./walk-result.ts";
import { deniedBy, rightsOf, shadowStackRight } from "./walk-rights.ts";

export * from "./walk-result.ts";

// An imported binding is a cell that V8 reads, and checks for initialisation, at each use; a const of this module is a
// constant to its compiler. The walk is where that counts: measured, it takes a quarter off its time.
// A kind writes when it has this bit: stores and shadow-stack stores.
const WRITE = ACCESS_WRITE;
const P = PTE_P;
const A = PTE_A;
const D = PTE_D;
const PS = PTE_PS;
const U = RIGHT_U;
const OK = WALK_OK;
const NOT_PRESENT = WALK_NOT_PRESENT;
const RESERVED = WALK_RESERVED;
const DENIED = WALK_DENIED;
/** Frame bits of a high word, and those of them that no memory reaches: it ends at 2^33. */
const FRAME_HI = 0xf_ffff;
const BEYOND_MEMORY = 0xf_fffe;

/**
 * Walks one linear address (SDM vol. 3, 4.5 to 4.8) and fills `result`; returns its code. Nothing is allocated unless
 * `options.record`. The caller has checked that the address is canonical.
 *
 * Rights are combined on the way down, R/W and U/S by AND, XD by OR, and judged only at the leaf: P=0 and reserved
 * bits further down are reported first. A and D are set only after that, each by a compare-and-swap of all 64 bits
 * against the value read; when another CPU was faster, the whole walk starts again, so no update ever undoes a change.
 * A fault leaves the entry that caused it unchanged, but for the emulator of {@link CpuModel.leaf1GAOnFault}.
 */
export function walk(
  memory: PhysicalMemory,
  control: ControlRegisters,
  lo: number,
  hi: number,
  kind: number,
  mode: number,
  options: WalkOptions,
  result: WalkResult,
): number {
  result.linearLo = lo;
  result.linearHi = hi;
  if (options.record) return walkKeepingPath(memory, control, kind, mode, options, result);
  if (result.start === null && walkCommonly(memory, control, kind, mode, result)) return OK;
  return walkGenerally(memory, control, kind, mode, options, result);
}

/** The one loop for every walk; its linear address is in the result. */
export function walkGenerally(
  memory: PhysicalMemory,
  control: ControlRegisters,
  kind: number,
  mode: number,
  options: WalkOptions,
  result: WalkResult,
): number {
  const code = attempt(memory, control, kind, mode, result);
  if (!options.setAccessedDirty || missingBits(control, kind, result) === 0) return code;
  return walkKeepingPath(memory, control, kind, mode, options, result);
}

/** The same walk with every entry kept: what a record shows, and what the compare-and-swaps start from. */
function walkKeepingPath(
  memory: PhysicalMemory,
  control: ControlRegisters,
  kind: number,
  mode: number,
  options: WalkOptions,
  result: WalkResult,
): number {
  let code: number;
  do {
    code = attempt(memory, control, kind, mode, result);
    keepPath(memory, control, result);
  } while (options.setAccessedDirty && !update(memory, control, kind, options, result));
  if (options.record === true) result.path = pathOf(result);
  return code;
}

/** Descends and judges once; changes nothing. */
function attempt(
  memory: PhysicalMemory,
  control: ControlRegisters,
  kind: number,
  mode: number,
  result: WalkResult,
): number {
  let code = descend(memory, control, result);
  result.denied = 0;
  if (code === OK) {
    if (control.keyRight !== U) result.rights |= keyedRight(control.model, result.above);
    const denied = deniedBy(control, result.rights, kind, mode);
    result.denied = denied;
    if (denied !== 0) code = DENIED;
  }
  result.code = code;
  return code;
}

/** Reads entries from the root down to a leaf or to the entry that stops the walk. */
function descend(memory: PhysicalMemory, control: ControlRegisters, result: WalkResult): number {
  const { words, lastWord } = memory;
  const { reservedHi, reservedTop } = control;
  const seldom = reservedHi | FRAME_HI;
  const { start } = result;
  let level: number = control.levels;
  let lo = control.rootLo;
  let hi = control.rootHi;
  let above = -1;
  let anyHi = 0;
  // The address bits from the top index down, in 64 bits that shift left: the next index is always their top nine.
  const shift = level === 5 ? 7 : 16;
  let bits = (result.linearHi << shift) | (result.linearLo >>> (32 - shift));
  let moreBits = result.linearLo << shift;
  if (start !== null) {
    for (; level > start.level; level--) {
      bits = (bits << 9) | (moreBits >>> 23);
      moreBits <<= 9;
    }
    lo = start.lo;
    hi = start.hi;
    above = start.above;
    anyHi = start.anyHi;
  }
  result.top = level;
  let high = highSlot(hi);
  let tableLo = 0;
  let tableHi = 0;
  for (;;) {
    tableLo = lo;
    tableHi = hi;
    // Word index of the entry: frame * 1024 + index * 2. Memory ends at 2^33, so it is an int32 or does not exist.
    const slot = high | ((lo >>> 2) & 0x3fff_fc00) | ((bits >>> 23) << 1);
    if (slot >>> 0 > lastWord) {
      // Beyond the words a bus may answer, or an image in its file; and shared memory reads each entry whole.
      memory.fetch(frameOf(tableLo, tableHi) * 4096 + (bits >>> 23) * 8);
      lo = memory.lo;
      hi = memory.hi;
    } else {
      lo = words[slot]!;
      hi = words[slot + 1]!;
    }
    // All but a pointer to a table, at a level that can have one, ends the walk.
    if (level === 1 || (lo & (P | PS)) !== P) break;
    high = 0;
    if ((hi & seldom) !== 0) {
      if ((hi & reservedHi) !== 0) break;
      high = highSlot(hi);
    }
    if (level >= 4 && (lo & reservedTop) !== 0) break;
    bits = (bits << 9) | (moreBits >>> 23);
    moreBits <<= 9;
    anyHi |= hi;
    above &= lo;
    level--;
  }
  result.level = level;
  result.lo = lo;
  result.hi = hi;
  result.tableLo = tableLo;
  result.tableHi = tableHi;
  result.above = above;
  result.dirty = (lo & D) !== 0;
  result.rights = rightsOf(above, anyHi | hi, lo, hi);
  return endOf(control, level, lo, hi);
}

/** The part of a word index that the high word of a pointer gives: bit 30, or -1 for a table where no memory is. */
function highSlot(hi: number): number {
  return (hi & BEYOND_MEMORY) === 0 ? (hi & 1) << 30 : -1;
}

/** What the last entry read is: a leaf (OK), or what stopped the walk. */
function endOf(control: ControlRegisters, level: number, lo: number, hi: number): number {
  if ((lo & P) === 0) return NOT_PRESENT;
  if ((hi & control.reservedHi) !== 0) return RESERVED;
  if (level === 1) return OK;
  const reserved = level >= 4 ? control.reservedTop : control.reservedLarge(level);
  return (lo & reserved) === 0 ? OK : RESERVED;
}

/** RIGHT_KEYED for a page that PKRU guards on an emulator that does not ask the whole path, else 0. */
function keyedRight({ keyPage }: CpuModel, above: number): number {
  return keyPage === "every" || (above & U) !== 0 ? RIGHT_KEYED : 0;
}

/** Reads the entries of the walk just made once more, and keeps them: only what updates or records them needs them. */
function keepPath(memory: PhysicalMemory, control: ControlRegisters, result: WalkResult): void {
  const { start, linearLo, linearHi } = result;
  let lo = start === null ? control.rootLo : start.lo;
  let hi = start === null ? control.rootHi : start.hi;
  for (let level = result.top; level >= result.level; level--) {
    const address = frameOf(lo, hi) * 4096 + tableIndex(level, linearLo, linearHi) * 8;
    result.pathAddress[level] = address;
    memory.fetch(address);
    lo = memory.lo;
    hi = memory.hi;
    result.pathLo[level] = lo;
    result.pathHi[level] = hi;
  }
}

/**
 * The A and D bits that this walk's outcome asks for and the entries read do not have (SDM vol. 3, 4.8). Tables above a
 * failing entry were used and may get A; the failing entry itself stays as it is.
 */
function missingBits(control: ControlRegisters, kind: number, result: WalkResult): number {
  if (result.code === OK) return (~result.above & A) | (~result.lo & ((kind & WRITE) !== 0 ? A | D : A));
  const upper = control.setsUpperAOnFault ? ~result.above & A : 0;
  return upper | (~result.lo & lastEntryBitsOnFault(control, result));
}

/** Nothing, but for the emulator that sets A in a 1-GiB leaf before it looks at bits 29:13 and the rights. */
function lastEntryBitsOnFault(control: ControlRegisters, result: WalkResult): number {
  const { model } = control;
  if (!model.leaf1GAOnFault || !control.gbPages || result.level !== 3 || (result.lo & PS) === 0) return 0;
  if (result.code === DENIED) return A;
  return result.code === RESERVED && (result.hi & control.reservedHi) === 0 ? A : 0;
}

/** Makes those updates, each on the entry as this walk read it. False when an entry changed since. */
function update(
  memory: PhysicalMemory,
  control: ControlRegisters,
  kind: number,
  options: WalkOptions,
  result: WalkResult,
): boolean {
  if (missingBits(control, kind, result) === 0) return true;
  if (options.beforeUpdate !== null) options.beforeUpdate(result);
  const ok = result.code === OK;
  const write = (kind & WRITE) !== 0 && ok;
  const lastBits = !ok ? lastEntryBitsOnFault(control, result) : write ? A | D : A;
  const upperBits = ok || control.setsUpperAOnFault ? A : 0;
  for (let level = result.top; level >= result.level; level--) {
    const bits = level === result.level ? lastBits : upperBits;
    if (setBits(memory, control.model, result, level, bits, options)) continue;
    if (ok && level === result.level) strayBits(memory, control.model, result, bits, options);
    return false;
  }
  if (write) {
    result.dirty = true;
    result.rights |= shadowStackRight(result.above, result.lo | D);
  }
  return true;
}

/**
 * ORs bits into the entry read at a level, by a locked compare-and-swap of all 64 bits (SDM vol. 3, 8.1.2.1), or as an
 * emulator does it: {@link CpuModel.adUpdate}.
 */
function setBits(
  memory: PhysicalMemory,
  model: CpuModel,
  result: WalkResult,
  level: number,
  bits: number,
  options: WalkOptions,
): boolean {
  const lo = result.pathLo[level]!;
  if ((bits & ~lo) === 0) return true;
  const address = result.pathAddress[level]!;
  let hi = result.pathHi[level]!;
  if (model.adUpdate === "locked64") {
    if (!memory.compareExchange(address, lo, hi, lo | bits, hi)) return false;
  } else if (model.adUpdate === "locked32") {
    hi = memory.readHi(address);
    if (!memory.compareExchange(address, lo, hi, lo | bits, hi)) return false;
  } else {
    memory.write(address, lo | bits, hi);
  }
  if (options.updated !== null) options.updated(address, lo, lo | bits, hi);
  return true;
}

/**
 * The leaf changed under an access that was about to set these bits. Some CPUs set them all the same, in an entry with
 * P=0 ({@link CpuModel.strayAD}) or one just write-protected ({@link CpuModel.dirtyOnReadOnly}), before they look again.
 */
function strayBits(
  memory: PhysicalMemory,
  model: CpuModel,
  result: WalkResult,
  bits: number,
  options: WalkOptions,
): void {
  const address = result.pathAddress[result.level]!;
  const { lo, hi } = memory.read(address);
  const unmapped = model.strayAD && (lo & P) === 0;
  const wasWritable = result.pathLo[result.level]!;
  const protectedOnly =
    (wasWritable ^ lo) === PTE_W && (lo & PTE_W) === 0 && hi === result.pathHi[result.level];
  if (!unmapped && !(model.dirtyOnReadOnly && (bits & D) !== 0 && protectedOnly)) return;
  if ((bits & ~lo) === 0) return;
  if (!memory.compareExchange(address, lo, hi, lo | bits, hi)) return;
  if (options.updated !== null) options.updated(address, lo, lo | bits, hi);
}

function pathOf(result: WalkResult): PathStep[] {
  const path: PathStep[] = [];
  for (let level = result.top; level >= result.level; level--) {
    const entry = new Entry(result.pathLo[level]!, result.pathHi[level]!);
    path.push({ level, kind: kindOf(level, entry.lo), address: result.pathAddress[level]!, entry });
  }
  return path;
}
