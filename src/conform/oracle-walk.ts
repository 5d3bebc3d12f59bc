import type { AccessStep, CaseCpu, Registers } from "./case.ts";
import type { RuleName } from "./rules.ts";

/**
 * The manual's walk and its rules of rights, one bigint entry after the other and nothing optimised. It shares no
 * code with arch/x86/cpu, which is among the programs that it judges.
 */

const P = 1n << 0n;
const RW = 1n << 1n;
const US = 1n << 2n;
export const A = 1n << 5n;
export const D = 1n << 6n;
const PS = 1n << 7n;
const G = 1n << 8n;
const XD = 1n << 63n;

const CR0_WP = 1n << 16n;
const CR4_LA57 = 1n << 12n;
const CR4_SMEP = 1n << 20n;
const CR4_SMAP = 1n << 21n;
const CR4_PKE = 1n << 22n;
const CR4_PKS = 1n << 24n;
const EFER_NXE = 1n << 11n;

/** Error-code bits (SDM vol. 3, 4.7). */
const ERROR_P = 0x01;
const ERROR_W = 0x02;
const ERROR_U = 0x04;
const ERROR_RSVD = 0x08;
const ERROR_I = 0x10;
const ERROR_PK = 0x20;
const ERROR_SS = 0x40;

/** Bits 51:12, and those below bit 63 that hold a leaf's key. */
const FRAME = 0xf_ffff_ffff_f000n;
const KEY_SHIFT = 59n;
/** Reserved in a 2-MiB leaf: 20:13; in a 1-GiB leaf: 29:13. Bit 12 is PAT in both. */
const LOW_2M = 0x1f_e000n;
const LOW_1G = 0x3fff_e000n;

/** How a walk went down: whether it found a page, and what stands on the way. */
export interface Path {
  /** Physical addresses of the entries read, the top one first. */
  readonly entries: readonly number[];
  readonly end: "page" | "not-present" | "reserved";
  /** Of the byte asked for, when it ended at a page. */
  readonly pa: number;
  /** AND of R/W and U/S, OR of XD over all entries. */
  readonly w: boolean;
  readonly u: boolean;
  readonly xd: boolean;
  /** R/W above the leaf, and R/W=0 and D=1 in it. */
  readonly shadowStack: boolean;
  readonly key: bigint;
}

/** Whether bits 63 down to the highest one that the walk uses are all alike. */
export function isCanonical(la: bigint, registers: Registers): boolean {
  const sign = la >> (levelsOf(registers) === 5 ? 56n : 47n);
  return sign === 0n || sign === (levelsOf(registers) === 5 ? 0xffn : 0x1_ffffn);
}

function levelsOf(registers: Registers): 4 | 5 {
  return (registers.cr4 & CR4_LA57) !== 0n ? 5 : 4;
}

/** Bits that must be 0 in a present entry at this level. */
function reservedBits(entry: bigint, level: number, cpu: CaseCpu, registers: Registers): bigint {
  let reserved = (1n << 52n) - (1n << BigInt(cpu.maxphyaddr));
  if ((registers.efer & EFER_NXE) === 0n) reserved |= XD;
  if (level >= 4) reserved |= cpu.vendor === "amd" ? PS | G : PS;
  if (level === 3 && !cpu.page1gb) reserved |= PS;
  if (level === 3 && (entry & PS) !== 0n) reserved |= LOW_1G;
  if (level === 2 && (entry & PS) !== 0n) reserved |= LOW_2M;
  return reserved;
}

/** Goes down from CR3. `read` gives the entry at a physical address. */
export function walkDown(la: bigint, cpu: CaseCpu, registers: Registers, read: (pa: number) => bigint): Path {
  const entries: number[] = [];
  let table = registers.cr3 & FRAME;
  let all = RW | US;
  let any = 0n;
  for (let level = levelsOf(registers); ; level--) {
    const shift = BigInt(12 + 9 * (level - 1));
    const at = Number(table + 8n * ((la >> shift) & 0x1ffn));
    const entry = read(at);
    entries.push(at);
    const stopped = { entries, pa: 0, w: false, u: false, xd: false, shadowStack: false, key: 0n };
    if ((entry & P) === 0n) return { ...stopped, end: "not-present" };
    if ((entry & reservedBits(entry, level, cpu, registers)) !== 0n) return { ...stopped, end: "reserved" };
    const above = all;
    all &= entry;
    any |= entry;
    if (level > 1 && (level > 3 || (entry & PS) === 0n)) {
      table = entry & FRAME;
      continue;
    }
    const offset = (1n << shift) - 1n;
    return {
      entries,
      end: "page",
      pa: Number((entry & FRAME & ~offset) | (la & offset)),
      w: (all & RW) !== 0n,
      u: (all & US) !== 0n,
      xd: (any & XD) !== 0n,
      shadowStack: (above & RW) !== 0n && (entry & RW) === 0n && (entry & D) !== 0n,
      key: (entry >> KEY_SHIFT) & 0xfn,
    };
  }
}

/** Whether the access counts as a write. */
export function isWrite({ kind }: AccessStep): boolean {
  return kind === "write" || kind === "rmw" || kind === "wruss";
}

function isUser({ kind, cpl }: AccessStep): boolean {
  return kind === "wruss" || (cpl === 3 && kind !== "implicit_read");
}

/** The fault of a walk: its error code, and another one that is as good where the manual leaves PK open. */
export interface WalkFault {
  readonly rule: RuleName;
  readonly error: number;
  readonly alternative: number | null;
}

/** Judges an access by where its walk ended. Null: it is allowed. */
export function faultOf(path: Path, access: AccessStep, registers: Registers): WalkFault | null {
  const base = baseError(access, registers);
  if (path.end === "not-present") return { rule: "not-present", error: base, alternative: null };
  if (path.end === "reserved") {
    return { rule: "reserved", error: base | ERROR_P | ERROR_RSVD, alternative: null };
  }
  const rule = brokenRight(path, access, registers);
  const key = brokenKey(path, access, registers);
  if (rule === null && (key === null || key === "open")) return null;
  const error = base | ERROR_P | (key === null || key === "open" ? 0 : ERROR_PK);
  return {
    rule: key === null || key === "open" ? (rule ?? "translate") : key,
    error,
    alternative: key === "open" ? error | ERROR_PK : null,
  };
}

function baseError(access: AccessStep, registers: Registers): number {
  const fetchTold = (registers.efer & EFER_NXE) !== 0n || (registers.cr4 & CR4_SMEP) !== 0n;
  return (
    (isWrite(access) ? ERROR_W : 0) |
    (isUser(access) ? ERROR_U : 0) |
    (access.kind === "fetch" && fetchTold ? ERROR_I : 0) |
    (access.kind === "wruss" ? ERROR_SS : 0)
  );
}

function brokenRight(path: Path, access: AccessStep, { cr0, cr4, efer }: Registers): RuleName | null {
  const { kind } = access;
  if (kind === "wruss") return path.shadowStack && path.u ? null : "shadow-stack";
  const user = isUser(access);
  const write = isWrite(access);
  if (user && !path.u) return "user-page";
  if (user && write && !path.w) return "user-write";
  if (!user && write && !path.w && (cr0 & CR0_WP) !== 0n) return "supervisor-write";
  if (kind === "fetch") {
    if (path.xd && (efer & EFER_NXE) !== 0n) return "xd";
    return !user && path.u && (cr4 & CR4_SMEP) !== 0n ? "smep" : null;
  }
  if (user || !path.u || (cr4 & CR4_SMAP) === 0n) return null;
  if (kind === "implicit_read") return "smap-implicit";
  return access.ac ? null : "smap";
}

/** "open": the key denies, but whether PK is reported for this access no text says clearly. */
function brokenKey(path: Path, access: AccessStep, registers: Registers): "pkru" | "pkrs" | "open" | null {
  if (access.kind === "fetch") return null;
  const { cr0, cr4 } = registers;
  if ((cr4 & (path.u ? CR4_PKE : CR4_PKS)) === 0n) return null;
  const rights = ((path.u ? registers.pkru : registers.pkrs) >> (2n * path.key)) & 3n;
  const user = isUser(access);
  const writeDenied = isWrite(access) && (rights & 2n) !== 0n && (user || (cr0 & CR0_WP) !== 0n);
  if ((rights & 1n) === 0n && !writeDenied) return null;
  if (path.u) return "pkru";
  return user ? "open" : "pkrs";
}
