import {
  PF_I,
  PF_P,
  PF_PK,
  PF_RMP,
  PF_RSVD,
  PF_SGX,
  PF_SS,
  PF_U,
  PF_W,
} from "../../arch/x86/cpu/page-fault.ts";

/** One bit of a page fault's error code. */
export interface ErrorCodeBit {
  readonly bit: number;
  readonly name: string;
  /** What it says when it is set, and when it is clear. */
  readonly set: string;
  readonly clear: string;
}

/** The bits of a page fault's error code, the lowest first (SDM vol. 3, 4.7; APM vol. 2, 15.36 for RMP). */
export const ERROR_CODE_BITS: readonly ErrorCodeBit[] = [
  { bit: PF_P, name: "P", set: "page present", clear: "an entry of the walk has P=0" },
  { bit: PF_W, name: "W/R", set: "write", clear: "a read or a fetch" },
  { bit: PF_U, name: "U/S", set: "user mode", clear: "the supervisor, also for its own implicit accesses" },
  { bit: PF_RSVD, name: "RSVD", set: "reserved bit set", clear: "no reserved bit" },
  { bit: PF_I, name: "I/D", set: "instruction fetch", clear: "data, or neither XD nor SMEP is on" },
  { bit: PF_PK, name: "PK", set: "protection key", clear: "no protection key denies it" },
  { bit: PF_SS, name: "SS", set: "shadow-stack access", clear: "no shadow-stack access" },
  { bit: PF_SGX, name: "SGX", set: "SGX's own access control", clear: "not SGX" },
  { bit: PF_RMP, name: "RMP", set: "AMD's reverse map of SEV-SNP", clear: "not SEV-SNP" },
];

/** Bits that cannot stand together: those of `set` set and those of `clear` clear. */
export interface ErrorCodeConflict {
  readonly set: number;
  readonly clear: number;
  readonly why: string;
}

/** What no CPU reports (SDM vol. 3, 4.7). */
export const ERROR_CODE_CONFLICTS: readonly ErrorCodeConflict[] = [
  {
    set: PF_RSVD,
    clear: PF_P,
    why: "RSVD without P: a reserved bit counts in a present entry only; QEMU's TCG reports it so all the same",
  },
  { set: PF_PK, clear: PF_P, why: "PK without P: a key is that of a present page" },
  { set: PF_PK | PF_RSVD, clear: 0, why: "PK with RSVD: a reserved bit ends the walk before a key is asked" },
  { set: PF_PK | PF_I, clear: 0, why: "PK with I/D: keys do not apply to fetches" },
  { set: PF_W | PF_I, clear: 0, why: "W/R with I/D: a fetch is no write" },
  { set: PF_SS | PF_I, clear: 0, why: "SS with I/D: a fetch is no shadow-stack access" },
  { set: PF_SGX, clear: PF_P, why: "SGX without P: its rules are asked after the walk" },
  { set: PF_SGX | PF_RSVD, clear: 0, why: "SGX with RSVD: its rules are asked after the walk" },
  { set: PF_SGX | PF_PK, clear: 0, why: "SGX with PK: its rules are asked after keys" },
];

/** Why an error code cannot be; empty for one that can. A code is below 2^32. */
export function errorCodeConflicts(code: number): string[] {
  const known = ERROR_CODE_BITS.reduce((all, { bit }) => all | bit, 0);
  const why = ERROR_CODE_CONFLICTS.filter(({ set, clear }) => (code & set) === set && !overlaps(code, clear));
  const unknown = (code & ~known) >>> 0;
  return [
    ...why.map((conflict) => conflict.why),
    ...(unknown === 0 ? [] : [`bits 0x${unknown.toString(16)}: the manuals do not define them`]),
  ];
}

/** Bits of a page fault's error code that are set, with their meaning. */
export function errorCodeWords(code: number): string {
  const words = ERROR_CODE_BITS.filter(({ bit }) => overlaps(code, bit)).map(
    ({ name, set }) => `${name} (${set})`,
  );
  if (words.length === 0) return "none set: a read by the supervisor, page not present";
  const without = (code & PF_RSVD) === 0 ? "page not present" : "as QEMU reports it";
  return words.join(", ") + ((code & PF_P) === 0 ? `; P is clear (${without})` : "");
}

/** The access of an error code: "user write". */
export function errorCodeAccess(code: number): string {
  const what = overlaps(code, PF_I) ? "fetch" : overlaps(code, PF_W) ? "write" : "read";
  return `${overlaps(code, PF_U) ? "user" : "supervisor"} ${overlaps(code, PF_SS) ? "shadow-stack " : ""}${what}`;
}

function overlaps(code: number, bits: number): boolean {
  return (code & bits) !== 0;
}
