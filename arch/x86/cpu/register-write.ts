import { CONTROL_BITS, type ControlBit, type ControlResult, type ControlState } from "./control-registers.ts";
import type { Cpu } from "./cpu.ts";
import { isCanonicalOperand, linearHi } from "./linear-address.ts";
import { type OtherRegister, otherBitsOf } from "./register-bits.ts";

/**
 * The instructions that write control registers, with whole register values: each returns done, or the exception it
 * raises with the rule that it breaks, and then nothing has changed (SDM vol. 3, 2.5 and 4.1). This machine is always in
 * 64-bit mode with paging on, so a value that would leave it is one of those. Bits that have nothing to do with paging
 * are kept and read back; which there are depends on the vendor and the model (register-bits.ts).
 */

const CR0_PE = 1n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const CR4_LA57 = 1n << 12n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** Bits 7:1, which AMD reads as zero whatever is written. */
const EFER_LOW = 0xfen;

/** PE, ET and PG; PAE and LA57; LME and LMA: what this machine's mode fixes. */
const FIXED: Readonly<Record<OtherRegister, bigint>> = {
  CR0: CR0_PE | (1n << 4n) | CR0_PG,
  CR4: CR4_PAE | CR4_LA57,
  EFER: EFER_LME | EFER_LMA,
};

/** Number of IA32_PAT, for {@link wrmsr} (SDM vol. 3, 11.12 Page Attribute Table). */
export const MSR_PAT = 0x277;
/** Number of IA32_PKRS, for {@link wrmsr} (SDM vol. 3, 4.6.2 Protection Keys). */
export const MSR_PKRS = 0x6e1;
/** Number of IA32_EFER, for {@link wrmsr} (SDM vol. 3, 2.2.1 Extended Feature Enable Register). */
export const MSR_EFER = 0xc000_0080;
/** MSRs that hold a linear address: SYSENTER_ESP and _EIP, LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE. */
const ADDRESS_MSRS: ReadonlySet<number> = new Set([
  0x175, 0x176, 0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102,
]);

/** MOV to CR0. */
export function movCr0(cpu: Cpu, value: bigint): ControlResult {
  if (cpu.cpl !== 0) return privileged("MOV to CR0", cpu);
  if (value >> 32n !== 0n) return refuse("CR0[63:32] is not 0");
  if ((value & CR0_PG) === 0n) {
    const why = cpu.control.pcide ? "while CR4.PCIDE is 1" : "in 64-bit mode";
    return refuse(`CR0.PG cleared ${why}`);
  }
  if ((value & CR0_PE) === 0n) return refuse("CR0.PG set while CR0.PE is 0");
  if ((value & CR0_NW) !== 0n && (value & CR0_CD) === 0n) return refuse("CR0.NW set while CR0.CD is 0");
  // A write of other reserved bits is ignored.
  return cpu.setControl(stateOf("CR0", value & (maskOf("CR0") | otherBitsOf("CR0", cpu.control.model))));
}

/** MOV to CR4. */
export function movCr4(cpu: Cpu, value: bigint): ControlResult {
  if (cpu.cpl !== 0) return privileged("MOV to CR4", cpu);
  const unknown = value & ~(CR4_PAE | CR4_LA57 | otherBitsOf("CR4", cpu.control.model) | maskOf("CR4"));
  if (unknown !== 0n) return refuse(`CR4 bits 0x${unknown.toString(16)} are reserved`);
  if ((value & CR4_PAE) === 0n) return refuse("CR4.PAE cleared in long mode");
  if (((value & CR4_LA57) !== 0n) !== (cpu.control.levels === 5))
    return refuse("CR4.LA57 changed in long mode");
  return cpu.setControl(stateOf("CR4", value));
}

/** WRMSR of IA32_EFER, IA32_PAT, IA32_PKRS, or of a register that holds a linear address. Others throw RangeError. */
export function wrmsr(cpu: Cpu, register: number, value: bigint): ControlResult {
  if (cpu.cpl !== 0) return privileged("WRMSR", cpu);
  switch (register) {
    case MSR_EFER:
      return writeEfer(cpu, value);
    case MSR_PAT:
      return cpu.setPat(value);
    case MSR_PKRS:
      if (!cpu.control.model.pks) return refuse(`IA32_PKRS: ${cpu.control.model.name} has no pks`);
      if (value >> 32n !== 0n) return refuse("IA32_PKRS[63:32] is not 0");
      return cpu.setControl({ pkrs: Number(value) });
    default:
      if (ADDRESS_MSRS.has(register)) return writeAddressMsr(cpu, register, value);
      throw new RangeError(`MSR 0x${register.toString(16)}: this machine has none of that number`);
  }
}

/**
 * RDMSR of the registers that {@link wrmsr} knows: the value, or #GP at another CPL than 0. Others throw RangeError. A
 * register that holds a linear address reads 0 until it is written.
 */
export function rdmsr(
  cpu: Cpu,
  register: number,
): { ok: true; value: bigint } | Exclude<ControlResult, { ok: true }> {
  const { control, cpl } = cpu;
  if (cpl !== 0) return { ok: false, fault: "#GP", why: `RDMSR at CPL ${cpl}` };
  if (register === MSR_EFER) return { ok: true, value: BigInt(control.efer) };
  if (register === MSR_PAT) return { ok: true, value: control.patValue };
  if (register === MSR_PKRS && control.model.pks) return { ok: true, value: BigInt(control.pkrs) };
  if (register === MSR_PKRS)
    return { ok: false, fault: "#GP", why: `IA32_PKRS: ${control.model.name} has no pks` };
  if (ADDRESS_MSRS.has(register)) return { ok: true, value: cpu.addressMsrs.get(register) ?? 0n };
  throw new RangeError(`MSR 0x${register.toString(16)}: this machine has none of that number`);
}

/** WRPKRU; `ecx` must be 0. */
export function wrpkru(cpu: Cpu, value: number, ecx = 0): ControlResult {
  if (!cpu.control.pke) return { ok: false, fault: "#UD", why: "WRPKRU while CR4.PKE is 0" };
  if (ecx !== 0) return refuse(`WRPKRU with ECX ${ecx}`);
  return cpu.setControl({ pkru: value });
}

function writeEfer(cpu: Cpu, value: bigint): ControlResult {
  const { model } = cpu.control;
  const others = otherBitsOf("EFER", model) | (model.vendor === "amd" ? EFER_LOW : 0n);
  const unknown = value & ~(EFER_LME | EFER_LMA | others | maskOf("EFER"));
  if (unknown !== 0n) return refuse(`EFER bits 0x${unknown.toString(16)} are reserved`);
  if ((value & EFER_LME) === 0n) return refuse("EFER.LME cleared while CR0.PG is 1");
  if ((value & EFER_LMA) === 0n && model.vendor === "amd") return refuse("EFER.LMA differs from the state");
  return cpu.setControl(stateOf("EFER", value & ~EFER_LOW));
}

function writeAddressMsr(cpu: Cpu, register: number, value: bigint): ControlResult {
  const { model } = cpu.control;
  if (isCanonicalOperand(linearHi(value), model)) {
    cpu.addressMsrs.set(register, value);
    return { ok: true };
  }
  return refuse(`0x${value.toString(16)} is not canonical in ${model.linearWidth} bits`);
}

/** The control bits that register values have, for {@link Cpu.setControl}; a register left out changes nothing. */
export function controlStateOf(values: {
  readonly cr0?: bigint;
  readonly cr4?: bigint;
  readonly efer?: bigint;
}): Partial<ControlState> {
  const { cr0, cr4, efer } = values;
  return {
    ...(cr0 === undefined ? {} : stateOf("CR0", cr0)),
    ...(cr4 === undefined ? {} : stateOf("CR4", cr4)),
    ...(efer === undefined ? {} : stateOf("EFER", efer)),
  };
}

function stateOf(register: OtherRegister, value: bigint): Partial<ControlState> {
  const state: Partial<Record<ControlBit, boolean>> = {};
  for (const { name, register: owner, bit } of CONTROL_BITS) {
    if (owner === register) state[name] = ((value >> BigInt(bit)) & 1n) === 1n;
  }
  const others = Number(value & ~maskOf(register) & ~FIXED[register]);
  if (register === "CR0") return { ...state, cr0Others: others };
  return register === "CR4" ? { ...state, cr4Others: others } : { ...state, eferOthers: others };
}

function maskOf(register: string): bigint {
  let mask = 0n;
  for (const { register: owner, bit } of CONTROL_BITS) if (owner === register) mask |= 1n << BigInt(bit);
  return mask;
}

function privileged(instruction: string, { cpl }: Cpu): ControlResult {
  return refuse(`${instruction} at CPL ${cpl}`);
}

function refuse(why: string): ControlResult {
  return { ok: false, fault: "#GP", why };
}
