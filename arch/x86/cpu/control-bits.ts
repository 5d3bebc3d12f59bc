/* The control bits that this model has, as data, and the state that a register write changes. */

/** The control bits this model has: register, bit, and the CPU feature without which setting it is #GP. */
export const CONTROL_BITS = [
  { name: "wp", register: "CR0", bit: 16, feature: null, meaning: "supervisor writes obey R/W" },
  { name: "cd", register: "CR0", bit: 30, feature: null, meaning: "caches off: every page is UC" },
  {
    name: "pse",
    register: "CR4",
    bit: 4,
    feature: null,
    meaning: "4-MiB pages outside long mode; here only a write of it counts, which flushes on AMD",
  },
  { name: "pge", register: "CR4", bit: 7, feature: "pge", meaning: "G makes a translation global" },
  { name: "pcide", register: "CR4", bit: 17, feature: "pcid", meaning: "CR3[11:0] tags translations" },
  { name: "smep", register: "CR4", bit: 20, feature: "smep", meaning: "no supervisor fetch from user pages" },
  {
    name: "smap",
    register: "CR4",
    bit: 21,
    feature: "smap",
    meaning: "no supervisor data access to user pages",
  },
  { name: "pke", register: "CR4", bit: 22, feature: "pku", meaning: "PKRU applies to user pages" },
  { name: "cet", register: "CR4", bit: 23, feature: "shstk", meaning: "shadow stacks" },
  { name: "pks", register: "CR4", bit: 24, feature: "pks", meaning: "IA32_PKRS applies to supervisor pages" },
  { name: "lamSup", register: "CR4", bit: 28, feature: "lam", meaning: "supervisor pointers carry metadata" },
  {
    name: "lass",
    register: "CR4",
    bit: 27,
    feature: "lass",
    meaning: "bit 63 separates the modes' addresses",
  },
  {
    name: "nxe",
    register: "EFER",
    bit: 11,
    feature: "nx",
    meaning: "bit 63 of an entry is XD, not reserved",
  },
  {
    name: "uaie",
    register: "EFER",
    bit: 20,
    feature: "uai",
    meaning: "data accesses through DS and ES ignore bits 63:57 of their address",
  },
  {
    name: "tce",
    register: "EFER",
    bit: 15,
    feature: "tce",
    meaning: "INVLPG drops only the upper-level entries that lead to its page",
  },
] as const;

/** Name of a control bit, in lower case. */
export type ControlBit = (typeof CONTROL_BITS)[number]["name"];

/** Bits of CR0, CR4 and EFER that are kept and read back and mean nothing to paging ({@link otherBitsOf}). */
export interface OtherBits {
  cr0Others: number;
  cr4Others: number;
  eferOthers: number;
}

/** The control bits, plus the two key registers. */
export type ControlState = Record<ControlBit, boolean> & { pkru: number; pkrs: number } & OtherBits;

/** Done, or the fault that the register write raises and the rule it breaks; #UD is that of WRPKRU without keys. */
export type ControlResult = { ok: true } | { ok: false; fault: "#GP" | "#UD"; why: string };

/** The #GP of an instruction that only CPL 0 may execute. */
export function notPrivileged(instruction: string, cpl: number): ControlResult {
  return { ok: false, fault: "#GP", why: `${instruction} at CPL ${cpl}` };
}
