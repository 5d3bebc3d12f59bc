import type { RuleName } from "./rules.ts";

/** Name of the protocol and of the case files. */
export const CONFORM_FORMAT = "ptescope-conform";
/** Version of the case format, of the protocol, and of the set of cases: an id means one case within a version. */
export const CONFORM_VERSION = 1;

/** No word of a case lies at or above this physical address, so that a small machine can hold every case. */
export const MEMORY_LIMIT = 0x400_0000;

/** Makers of CPUs that differ in what the manuals promise. */
export const VENDORS = ["intel", "amd"] as const;

/** What the CPU of a case enumerates. */
export interface CaseCpu {
  readonly vendor: (typeof VENDORS)[number];
  /** MAXPHYADDR, 36..52. */
  readonly maxphyaddr: number;
  /** Whether it has 1-GiB pages. */
  readonly page1gb: boolean;
}

/** Register values before the first step; long mode with paging on. */
export interface Registers {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  /** PKRU and IA32_PKRS: two bits a key. */
  readonly pkru: bigint;
  readonly pkrs: bigint;
}

/** One aligned 64-bit word of physical memory. */
export interface Word {
  readonly pa: number;
  readonly value: bigint;
}

/**
 * What an access of a case does:
 *
 * - `rmw`: a read-modify-write that stores the value it read, such as LOCK CMPXCHG that fails
 * - `implicit_read`: the CPU's own read of a descriptor table or a TSS
 * - `wruss`: WRUSS, a user-mode shadow-stack store that the kernel makes
 */
export const ACCESS_KINDS = ["read", "write", "rmw", "fetch", "implicit_read", "wruss"] as const;
/** Name of what an access does. */
export type AccessKindName = (typeof ACCESS_KINDS)[number];

/**
 * Instructions that make a read-modify-write: LOCK CMPXCHG that fails, XADD of 0, BTS of bit 0; each also without LOCK.
 * To the page walk they are all the same.
 */
export const RMW_FORMS = ["lock-cmpxchg", "lock-xadd", "lock-bts", "cmpxchg", "xadd", "bts"] as const;
/** Name of an instruction that makes a read-modify-write. */
export type RmwForm = (typeof RMW_FORMS)[number];

/** One access to memory. */
export interface AccessStep {
  readonly op: "access";
  readonly kind: AccessKindName;
  readonly la: bigint;
  readonly size: 1 | 2 | 4 | 8;
  readonly cpl: 0 | 1 | 2 | 3;
  /** RFLAGS.AC. */
  readonly ac: boolean;
  /** Through SS, as a push does: a non-canonical address is #SS. */
  readonly stack: boolean;
  /** Of a read-modify-write: the instruction, for programs that execute some. Without it any will do. */
  readonly by?: RmwForm;
}

/** Registers that a `control` step loads, by MOV, WRMSR or WRPKRU. */
export const CONTROL_REGISTERS = ["cr0", "cr4", "efer", "pkru", "pkrs"] as const;
/** A load of control registers, all at once; what is left out stays. */
export type ControlStep = { readonly op: "control" } & {
  readonly [R in (typeof CONTROL_REGISTERS)[number]]?: bigint;
};

/** One step of a case. */
export type Step =
  | AccessStep
  /** A plain store to physical memory by somebody else; it invalidates nothing. */
  | { readonly op: "write_entry"; readonly pa: number; readonly value: bigint }
  /** MOV to CR3; bit 63 keeps the new PCID's translations. */
  | { readonly op: "mov_cr3"; readonly value: bigint }
  | { readonly op: "invlpg"; readonly la: bigint }
  /** `pcid` is the whole first word of the descriptor. */
  | { readonly op: "invpcid"; readonly type: number; readonly pcid: bigint; readonly la: bigint }
  | ControlStep;

/** What one step came to. */
export type Outcome =
  /** An access was done; `pa` is the physical address of its first byte. */
  | { readonly pa: number }
  /** The error code is 0 where the exception has none to say; `cr2` belongs to #PF. */
  | { readonly fault: { readonly vector: number; readonly error: number; readonly cr2?: bigint } }
  /** A step that is not an access was done. */
  | { readonly done: true };

/** Vector of #UD, Invalid Opcode (SDM vol. 3, 6.15 Exception and Interrupt Reference). */
export const VECTOR_UD = 6;
/** Vector of #SS, Stack Fault. */
export const VECTOR_SS = 12;
/** Vector of #GP, General Protection. */
export const VECTOR_GP = 13;
/** Vector of #PF, Page Fault. */
export const VECTOR_PF = 14;

/** What the architecture allows for one step. */
export interface ExpectedResult {
  /** One, where the outcome is mandatory. */
  readonly allow: readonly Outcome[];
  /** Why. */
  readonly rule: RuleName;
}

/** A word after the last step: bits of `ignore` may have any value. */
export interface ExpectedWord {
  readonly value: bigint;
  readonly ignore: bigint;
}

/** What a case must come to. */
export interface Expectation {
  /** One for each step. */
  readonly results: readonly ExpectedResult[];
  /** One for each word of `memory`. */
  readonly after: readonly ExpectedWord[];
}

/** The part of a case that the program under test is told. */
export interface CaseQuestion {
  /** Group and number: m1/000123, fact/29, tricky/12. */
  readonly id: string;
  /** What a person would call it; cases of the matrices have none. */
  readonly title?: string;
  readonly cpu: CaseCpu;
  /** The vendor whose CPUs alone the expectation holds for; without it, it holds for both. */
  readonly needs?: readonly CaseCpu["vendor"][];
  readonly registers: Registers;
  /** Every other word of memory is zero. Nothing is cached in any TLB. */
  readonly memory: readonly Word[];
  readonly steps: readonly Step[];
}

/** A case with its answer. */
export interface ConformCase extends CaseQuestion {
  readonly expect: Expectation;
}

/** What stands before the slash of an id. */
export function groupOf(id: string): string {
  return id.slice(0, id.indexOf("/"));
}

/** Whether a text can be an id. */
export function isCaseId(text: string): boolean {
  return /^[a-z0-9-]+\/[a-z0-9-]+$/.test(text);
}
