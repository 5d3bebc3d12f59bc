import {
  type AccessResult,
  type ControlResult,
  type Cpu,
  controlStateOf,
  cpuModel,
  invpcid,
  Machine,
  MSR_EFER,
  MSR_PKRS,
  movCr0,
  movCr4,
  wrmsr,
  wrpkru,
} from "../../arch/x86/cpu/index.ts";
import type { AccessStep, ConformCase, Outcome, Step } from "../../src/conform/case.ts";

const CR4_LA57 = 1n << 12n;
const VECTORS = { "#UD": 6, "#SS": 12, "#GP": 13, "#PF": 14 } as const;

/** What a machine made of a case: one outcome a step, and the case's words afterwards. */
export interface Told {
  readonly results: readonly Outcome[];
  readonly after: readonly bigint[];
}

/** Runs a case on a fresh machine of a model, with the TLB that keeps everything. */
export function runCase({ cpu: features, registers, memory, steps }: ConformCase, model: string): Told {
  const { vendor, maxphyaddr, page1gb } = features;
  const machine = new Machine({
    memory: "4MiB",
    model: { ...cpuModel(model), vendor, maxPhyAddr: maxphyaddr, gbPages: page1gb },
    levels: (registers.cr4 & CR4_LA57) === 0n ? 4 : 5,
  });
  const cpu = machine.cpu(0);
  for (const { pa, value } of memory) store(machine, pa, value);
  const { cr0, cr4, efer, pkru, pkrs, cr3 } = registers;
  const state = { ...controlStateOf({ cr0, cr4, efer }), pkru: Number(pkru), pkrs: Number(pkrs) };
  for (const done of [cpu.setControl(state), cpu.movCr3(cr3)]) {
    if (!done.ok) throw new TypeError(`the case cannot begin: ${done.why}`);
  }
  const results = steps.map((step) => runStep(machine, cpu, step));
  return { results, after: memory.map(({ pa }) => machine.memory.read(pa).toBigInt()) };
}

function store(machine: Machine, pa: number, value: bigint): void {
  machine.memory.write(pa, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

function runStep(machine: Machine, cpu: Cpu, step: Step): Outcome {
  switch (step.op) {
    case "access":
      return accessed(access(cpu, step));
    case "write_entry":
      store(machine, step.pa, step.value);
      return { done: true };
    case "mov_cr3":
      return written(cpu.movCr3(step.value));
    case "invlpg":
      cpu.invlpg(step.la);
      return { done: true };
    case "invpcid":
      return written(atCpl0(cpu, () => invpcid(cpu, step.type, step.pcid, step.la)));
    case "control":
      return written(atCpl0(cpu, () => control(cpu, step)));
  }
}

function atCpl0(cpu: Cpu, run: () => ControlResult): ControlResult {
  cpu.cpl = 0;
  return run();
}

function control(cpu: Cpu, { cr0, cr4, efer, pkru, pkrs }: Extract<Step, { op: "control" }>): ControlResult {
  if (cr0 !== undefined) return movCr0(cpu, cr0);
  if (cr4 !== undefined) return movCr4(cpu, cr4);
  if (efer !== undefined) return wrmsr(cpu, MSR_EFER, efer);
  if (pkrs !== undefined) return wrmsr(cpu, MSR_PKRS, pkrs);
  return wrpkru(cpu, Number(pkru));
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
  return { fault: kind === "#PF" ? { vector: 14, error, cr2 } : { vector: VECTORS[kind], error: 0 } };
}

function written(result: ControlResult): Outcome {
  return result.ok ? { done: true } : { fault: { vector: VECTORS[result.fault], error: 0 } };
}
