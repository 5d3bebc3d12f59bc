import {
  ACCESS_FETCH,
  DENIED_EXECUTE,
  DENIED_KEY,
  DENIED_SHADOW_STACK,
  DENIED_SMAP,
  DENIED_SMEP,
  DENIED_USER,
  DENIED_WRITE,
  isShadowKind,
  isWriteKind,
  MODE_USER,
} from "./access-rights.ts";
import { need } from "./argument.ts";
import { shape } from "./argument-kinds.ts";
import { type Entry, ZERO_ENTRY } from "./entry.ts";
import { LEVEL_NAMES } from "./entry-layout.ts";
import { linearBigInt, linearPage } from "./linear-address.ts";

/* Error-code bits of a page fault (SDM vol. 3, 4.7 Page-Fault Exceptions). */

/** Every entry of the walk was present: rights or a reserved bit stopped the access. */
export const PF_P = 1;
/** W/R: the access was a write. */
export const PF_W = 2;
/** U/S: the access was a user-mode one. */
export const PF_U = 4;
/** RSVD: a reserved bit is set in some entry of the walk. */
export const PF_RSVD = 8;
/** I/D: the access was a fetch, and XD or SMEP was on. */
export const PF_I = 0x10;
/** PK: a protection key denied the access. */
export const PF_PK = 0x20;
/** A shadow-stack access, whatever the cause. */
export const PF_SS = 0x40;
/** SGX's access control; never raised here. */
export const PF_SGX = 0x8000;
/**
 * RMP: AMD's reverse-map table of secure nested paging; never raised here (APM vol. 2, 15.36 Secure Nested Paging).
 */
export const PF_RMP = 0x8000_0000;

/** How a walk ended. Only WALK_OK gives a translation that may be used. */
export const WALK_OK = 0;
/** It met an entry with P=0. */
export const WALK_NOT_PRESENT = 1;
/** It met a present entry with a reserved bit set. */
export const WALK_RESERVED = 2;
/** It reached the leaf, and the rights forbid the access. */
export const WALK_DENIED = 3;

/** Which exception an access raises. */
export type FaultKind = "#PF" | "#GP" | "#SS" | "#UD";

/** Which rule an access broke. */
export type FaultReason =
  /** P=0 in an entry of the walk. */
  | "not-present"
  /** A bit that must be zero is set in a present entry. */
  | "reserved-bit"
  /** User access to an address that some entry reserves for the supervisor. */
  | "supervisor-page"
  /** Write where some entry has R/W=0. */
  | "read-only"
  /** Fetch where some entry has XD=1. */
  | "execute-disable"
  /** Supervisor fetch from a user-mode address. */
  | "smep"
  /** Supervisor data access to a user-mode address without AC. */
  | "smap"
  /** The page's protection key denies the access. */
  | "protection-key"
  /** Shadow-stack access to an ordinary page, or to one of the other mode. */
  | "shadow-stack"
  /** Bit 63 of the address belongs to the other mode (LASS): no walk was made. */
  | "address-space"
  /** Address bits above the linear-address width are not all equal: no walk was made. */
  | "non-canonical"
  /** A store to a shadow stack at an address that is no multiple of its size. */
  | "misaligned"
  /** An instruction of the kernel's at another privilege level. */
  | "privilege"
  /** An instruction that CR4 has not enabled. */
  | "not-enabled";

/** The state the error code depends on besides the walk itself. */
export interface ErrorCodePolicy {
  readonly nxe: boolean;
  readonly smep: boolean;
  /** False reproduces QEMU, which reports reserved-bit faults with P=0. */
  readonly rsvdKeepsP: boolean;
}

/**
 * The error code of a walk that ended with `code` (SDM vol. 3, 4.7). `denied` is its set of DENIED_* bits. I/D tells
 * only that a fetch was made while XD or SMEP was on, not that it was the cause.
 */
export function errorCodeOf(
  code: number,
  denied: number,
  kind: number,
  mode: number,
  policy: ErrorCodePolicy,
): number {
  let error = code === WALK_NOT_PRESENT ? 0 : PF_P;
  if (code === WALK_RESERVED) error = policy.rsvdKeepsP ? PF_P | PF_RSVD : PF_RSVD;
  if (isWriteKind(kind)) error |= PF_W;
  if (mode === MODE_USER) error |= PF_U;
  if (kind === ACCESS_FETCH && (policy.nxe || policy.smep)) error |= PF_I;
  if ((denied & DENIED_KEY) !== 0) error |= PF_PK;
  if (isShadowKind(kind)) error |= PF_SS;
  return error;
}

/** The first reason that holds, in the order the manual lists the rules. */
export function reasonOf(code: number, denied: number): FaultReason {
  if (code === WALK_NOT_PRESENT) return "not-present";
  if (code === WALK_RESERVED) return "reserved-bit";
  if ((denied & DENIED_USER) !== 0) return "supervisor-page";
  if ((denied & DENIED_WRITE) !== 0) return "read-only";
  if ((denied & DENIED_EXECUTE) !== 0) return "execute-disable";
  if ((denied & DENIED_SMEP) !== 0) return "smep";
  if ((denied & DENIED_SMAP) !== 0) return "smap";
  return (denied & DENIED_SHADOW_STACK) !== 0 ? "shadow-stack" : "protection-key";
}

const REASON_WORDS: Readonly<Record<FaultReason, string>> = {
  "not-present": "not present",
  "reserved-bit": "a reserved bit is set",
  "supervisor-page": "the page belongs to the supervisor",
  "read-only": "the page is read-only",
  "execute-disable": "the page is not executable",
  smep: "SMEP forbids the supervisor to execute user pages",
  smap: "SMAP forbids the supervisor to touch user pages",
  "protection-key": "the protection key denies it",
  "shadow-stack": "it is no shadow-stack page of this mode",
  "address-space": "LASS keeps this half of the addresses from it",
  "non-canonical": "the address is not canonical",
  misaligned: "the address is not aligned to the size",
  privilege: "it is the kernel's, at CPL 0",
  "not-enabled": "CR4 has not enabled it",
};

/** What a {@link PageFault} is made of; its fields say what they are. */
export interface FaultFields {
  kind: FaultKind;
  errorCode: number;
  lo: number;
  hi: number;
  level: number;
  entryAddress: number;
  entry: Entry;
  reason: FaultReason;
  cached: boolean;
}

const FIELDS = shape<FaultFields>("fault", {});

/** A fault of one access: a value, never thrown. */
export class PageFault {
  readonly kind: FaultKind;
  /** Hardware error code; 0 for #GP and #SS. */
  readonly errorCode: number;
  /** The two words of the linear address: what CR2 holds after a #PF, low bits included. */
  readonly lo: number;
  readonly hi: number;
  /** Level of the entry that stopped the walk (1 = PTE .. 5 = PML5E); 0 when no walk was made. */
  readonly level: number;
  /** Physical address of that entry; -1 when no walk was made. */
  readonly entryAddress: number;
  readonly entry: Entry;
  readonly reason: FaultReason;
  /**
   * Whether a TLB entry denied the access. Then level, entryAddress and entry tell where a walk of memory ends now,
   * and memory may well allow the access: a spurious fault.
   */
  readonly cached: boolean;

  constructor(fields: FaultFields) {
    if (typeof fields !== "object" || fields === null) need(FIELDS, fields);
    this.kind = fields.kind;
    this.errorCode = fields.errorCode;
    this.lo = fields.lo;
    this.hi = fields.hi;
    this.level = fields.level;
    this.entryAddress = fields.entryAddress;
    this.entry = fields.entry;
    this.reason = fields.reason;
    this.cached = fields.cached;
  }

  /**
   * The fault of an address that its access may not have at all, not canonical or of the other half: #SS for stack
   * accesses, else #GP; or of an instruction that may not be executed. No walk is made.
   */
  static ofAddress(
    kind: Exclude<FaultKind, "#PF">,
    lo: number,
    hi: number,
    reason: FaultReason = "non-canonical",
  ): PageFault {
    const entry = ZERO_ENTRY;
    return new PageFault({
      kind,
      errorCode: 0,
      lo,
      hi,
      level: 0,
      entryAddress: -1,
      entry,
      reason,
      cached: false,
    });
  }

  get address(): bigint {
    return linearBigInt(this.lo, this.hi);
  }

  /** The address of its page, exact as a Number. */
  get page(): number {
    return linearPage(this.lo, this.hi);
  }

  /** One sentence: the access, the cause, and the entry that stopped it. */
  describe(): string {
    const address = `0x${this.address.toString(16)}`;
    if (this.kind !== "#PF") return `${this.kind} at ${address}: ${REASON_WORDS[this.reason]}`;
    const who = (this.errorCode & PF_U) !== 0 ? "user" : "supervisor";
    const what = (this.errorCode & PF_W) !== 0 ? "write" : (this.errorCode & PF_I) !== 0 ? "fetch" : "access";
    const where = `${LEVEL_NAMES[this.level]} ${this.entry} at 0x${this.entryAddress.toString(16)}`;
    const source = this.cached ? " (said by a TLB entry; memory now has " : " (";
    const code = `0x${this.errorCode.toString(16).padStart(2, "0")}`;
    return `#PF ${code} at ${address}: ${who} ${what}, ${REASON_WORDS[this.reason]}${source}${where})`;
  }
}
