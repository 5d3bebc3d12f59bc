import type { CpuModel } from "./cpu-model.ts";

/** Which CPUs of a vendor have a bit: all, those whose model names it ({@link CpuModel.registerBits}), or none. */
type Has = "all" | "named" | null;

/** A bit of a control register that has nothing to do with paging: it is kept and read back, and that is all. */
interface OtherBit {
  readonly register: OtherRegister;
  readonly bit: number;
  readonly name: string;
  readonly intel: Has;
  readonly amd: Has;
}

/** A register that has such bits. */
export type OtherRegister = "CR0" | "CR4" | "EFER";

/** Bits of both vendors alike. */
function both(
  register: OtherRegister,
  has: Has,
  ...bits: readonly (readonly [number, string])[]
): OtherBit[] {
  return bits.map(([bit, name]) => ({ register, bit, name, intel: has, amd: has }));
}

/**
 * Bits that a CPU defines and paging does not read (SDM vol. 3, 2.5 Control Registers, and 2.2.1 for IA32_EFER; APM vol. 2,
 * 3.1). Any other bit that is not in CONTROL_BITS is reserved.
 */
const OTHER_BITS: readonly OtherBit[] = [
  ...both("CR0", "all", [1, "MP"], [2, "EM"], [3, "TS"], [5, "NE"], [18, "AM"], [29, "NW"]),
  ...both("CR4", "all", [0, "VME"], [1, "PVI"], [2, "TSD"], [3, "DE"], [6, "MCE"], [8, "PCE"]),
  ...both("CR4", "all", [9, "OSFXSR"], [10, "OSXMMEXCPT"], [16, "FSGSBASE"], [18, "OSXSAVE"]),
  ...both("CR4", "named", [11, "UMIP"]),
  { register: "CR4", bit: 13, name: "VMXE", intel: "all", amd: null },
  { register: "CR4", bit: 14, name: "SMXE", intel: "all", amd: null },
  { register: "CR4", bit: 19, name: "KL", intel: "named", amd: null },
  { register: "CR4", bit: 25, name: "UINTR", intel: "named", amd: null },
  { register: "CR4", bit: 32, name: "FRED", intel: "named", amd: "named" },
  ...both("EFER", "all", [0, "SCE"]),
  { register: "EFER", bit: 12, name: "SVME", intel: null, amd: "all" },
  { register: "EFER", bit: 13, name: "LMSLE", intel: null, amd: "named" },
  { register: "EFER", bit: 14, name: "FFXSR", intel: null, amd: "all" },
  { register: "EFER", bit: 17, name: "MCOMMIT", intel: null, amd: "named" },
  { register: "EFER", bit: 18, name: "INTWB", intel: null, amd: "named" },
  { register: "EFER", bit: 21, name: "AIBRSE", intel: null, amd: "named" },
];

/** Those of a register that a CPU has, as a mask. */
export function otherBitsOf(
  register: OtherRegister,
  { vendor, registerBits = "" }: Pick<CpuModel, "vendor" | "registerBits">,
): bigint {
  const named = registerBits.split(" ");
  let mask = 0n;
  for (const row of OTHER_BITS) {
    const has = row[vendor];
    const here = has === "all" || (has === "named" && named.includes(row.name));
    if (row.register === register && here) mask |= 1n << BigInt(row.bit);
  }
  return mask;
}
