import type { ControlResult } from "../../arch/x86/cpu/control-registers.ts";
import type { Cpu } from "../../arch/x86/cpu/cpu.ts";
import { invpcid } from "../../arch/x86/cpu/invalidation.ts";
import type { Machine } from "../../arch/x86/cpu/machine.ts";
import type { AccessResult } from "../../arch/x86/cpu/memory-access.ts";
import {
  controlStateOf,
  MSR_EFER,
  MSR_PKRS,
  movCr0,
  movCr4,
  wrmsr,
  wrpkru,
} from "../../arch/x86/cpu/register-write.ts";
import {
  type AccessStep,
  type CaseQuestion,
  type Outcome,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_UD,
} from "./case.ts";

const VECTORS = { "#UD": VECTOR_UD, "#SS": VECTOR_SS, "#GP": VECTOR_GP, "#PF": VECTOR_PF } as const;

/** Stores a word of a case: physically, without any invalidation. */
export function storeWord(machine: Machine, pa: number, value: bigint): void {
  machine.memory.write(pa, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

/** Brings a CPU into the state that a case begins with; returns why it cannot, or null. */
export function setRegisters(cpu: Cpu, registers: CaseQuestion["registers"]): string | null {
  const { cr0, cr3, cr4, efer, pkru, pkrs } = registers;
  // PCIDE can be set only over zeros in CR3[11:0].
  cpu.loadCr3(0);
  cpu.cpl = 0;
  const state = { ...controlStateOf({ cr0, cr4, efer }), pkru: Number(pkru), pkrs: Number(pkrs) };
  const set = cpu.setControl(state);
  const result = set.ok ? cpu.movCr3(cr3) : set;
  return result.ok ? null : result.why;
}

/** Runs one step of a case on a CPU of ours. Stores are zeros, as memory outside the case is. */
export function runStep(machine: Machine, cpu: Cpu, step: Step): Outcome {
  switch (step.op) {
    case "access":
      return accessed(access(cpu, step));
    case "write_entry":
      storeWord(machine, step.pa, step.value);
      return { done: true };
    case "mov_cr3":
      cpu.cpl = 0;
      return written(cpu.movCr3(step.value));
    case "invlpg":
      cpu.cpl = 0;
      cpu.invlpg(step.la);
      return { done: true };
    case "invpcid":
      cpu.cpl = 0;
      return written(invpcid(cpu, step.type, step.pcid, step.la));
    case "control":
      cpu.cpl = 0;
      return written(control(cpu, step));
  }
}

/** Writes the given registers one after the other; stops at the first that faults. */
function control(cpu: Cpu, { cr0, cr4, efer, pkru, pkrs }: Extract<Step, { op: "control" }>): ControlResult {
  const writes: ControlResult[] = [];
  const write = (value: bigint | undefined, run: (value: bigint) => ControlResult) => {
    if (value !== undefined && writes.every(({ ok }) => ok)) writes.push(run(value));
  };
  write(cr0, (value) => movCr0(cpu, value));
  write(cr4, (value) => movCr4(cpu, value));
  write(efer, (value) => wrmsr(cpu, MSR_EFER, value));
  write(pkru, (value) => wrpkru(cpu, Number(value)));
  write(pkrs, (value) => wrmsr(cpu, MSR_PKRS, value));
  return writes.at(-1) ?? { ok: true };
}

function access(cpu: Cpu, { kind, la, size, cpl, ac, stack }: AccessStep): AccessResult {
  cpu.cpl = cpl;
  cpu.ac = ac;
  const segment = stack ? "stack" : "data";
  switch (kind) {
    case "read":
      return cpu.load(la, size, segment);
    case "write":
      return cpu.store(la, 0n, size, segment);
    case "rmw":
      return cpu.readModifyWrite(la, (old) => old, size, segment);
    case "fetch":
      return cpu.fetch(la, size);
    case "implicit_read":
      return cpu.loadImplicit(la, size);
    case "wruss":
      return cpu.wruss(la, 0n);
  }
}

function accessed(result: AccessResult): Outcome {
  if (result.ok) return { pa: result.physical };
  const { kind, errorCode: error, address: cr2 } = result.fault;
  return { fault: kind === "#PF" ? { vector: VECTOR_PF, error, cr2 } : { vector: VECTORS[kind], error: 0 } };
}

function written(result: ControlResult): Outcome {
  return result.ok ? { done: true } : { fault: { vector: VECTORS[result.fault], error: 0 } };
}
