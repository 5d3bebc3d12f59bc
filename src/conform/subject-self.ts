import { CONTROL_BITS, type ControlState } from "../../arch/x86/cpu/control-registers.ts";
import type { Cpu } from "../../arch/x86/cpu/cpu.ts";
import { cpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import type { AccessResult } from "../../arch/x86/cpu/memory-access.ts";
import type { Answer, ToldResult } from "./answer.ts";
import {
  type AccessStep,
  type CaseCpu,
  type CaseQuestion,
  MEMORY_LIMIT,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_UD,
} from "./case.ts";
import type { Subject } from "./subject.ts";

const VECTORS = { "#UD": VECTOR_UD, "#SS": VECTOR_SS, "#GP": VECTOR_GP, "#PF": VECTOR_PF } as const;
const CR4_LA57 = 1n << 12n;
/** Bits that long mode with paging has anyway, or that no register here has: PG, ET, PE; PAE, LA57; LME, LMA. */
const KNOWN = { cr0: 0x8000_0011n, cr4: 0x1020n, efer: 0x500n };
/** The control bits of our CPU by register. */
const MASKS = { cr0: masksOf("CR0"), cr4: masksOf("CR4"), efer: masksOf("EFER") };

function masksOf(register: string) {
  const bits = CONTROL_BITS.filter((bit) => bit.register === register).map(({ name, bit }) => {
    return { bit: name, mask: 1n << BigInt(bit) };
  });
  return { bits, all: bits.reduce((all, { mask }) => all | mask, 0n) };
}

/** Machines kept for cases to come. */
const MAX_MACHINES = 16;

/** Says that our machine lacks what a case needs. */
class Unsupported extends Error {}

/** Our own machine, with the TLB that keeps everything. */
export class SelfSubject implements Subject {
  readonly name = "ptescope";
  readonly skip = null;
  readonly #machines = new Map<string, Machine>();

  ask(questions: readonly CaseQuestion[]): Promise<readonly Answer[]> {
    return Promise.resolve(questions.map((question) => this.answer(question)));
  }

  finish(): Promise<void> {
    return Promise.resolve();
  }

  stop(): void {}

  /** Runs one case. Before and after it the machine's memory is zero and its TLB holds nothing it could use. */
  answer(question: CaseQuestion): Answer {
    const { cpu: features, registers, memory, steps } = question;
    const machine = this.#machineFor(features, (registers.cr4 & CR4_LA57) === 0n ? 4 : 5);
    const cpu = machine.cpu(0);
    for (const { pa, value } of memory) write(machine, pa, value);
    try {
      setUp(cpu, registers);
      const results = steps.map((step) => run(machine, cpu, step));
      return { results, after: memory.map(({ pa }) => machine.memory.read(pa).toBigInt()) };
    } catch (error) {
      if (error instanceof Unsupported) return { unsupported: error.message };
      throw error;
    } finally {
      for (const { pa } of memory) write(machine, pa, 0n);
      // The next case's load of CR3 drops what is neither global nor of another PCID.
      const { pge, pcide } = cpu.control;
      if (pge || pcide || steps.some(({ op }) => op === "control")) cpu.tlb.flushAll();
    }
  }

  #machineFor({ vendor, maxphyaddr, page1gb }: CaseCpu, levels: 4 | 5): Machine {
    const key = `${vendor} ${maxphyaddr} ${page1gb} ${levels}`;
    const known = this.#machines.get(key);
    if (known !== undefined) return known;
    const base = cpuModel("intel-sapphire-rapids");
    const model = { ...base, name: "conform", vendor, maxPhyAddr: maxphyaddr, gbPages: page1gb };
    const machine = new Machine({ memory: MEMORY_LIMIT, model, levels, tlb: "stale" });
    if (this.#machines.size === MAX_MACHINES) this.#machines.clear();
    this.#machines.set(key, machine);
    return machine;
  }
}

function write(machine: Machine, pa: number, value: bigint): void {
  machine.memory.write(pa, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
}

/** Brings the CPU into the state that a case begins with. */
function setUp(cpu: Cpu, registers: CaseQuestion["registers"]): void {
  const { pcide = false, ...others } = controlState(registers);
  const low = Number(registers.cr3 & 0xfffn);
  // CR3[11:0] can be loaded as a PCID only, and PCIDE be set only over zeros there.
  cpu.loadCr3(0);
  setControl(cpu, { ...others, pcide: pcide || low !== 0 });
  loadCr3(cpu, registers.cr3, low, false);
  if (!pcide && low !== 0) setControl(cpu, { pcide });
}

/** Throws Unsupported when the CPU takes the bits for illegal. */
function setControl(cpu: Cpu, changes: Partial<ControlState>): void {
  require(cpu.setControl(changes).ok, "these control bits");
}

/** What our CPU has of the registers. Throws Unsupported for bits that it has not. */
function controlState(registers: Partial<CaseQuestion["registers"]>): Partial<ControlState> {
  const state: Partial<ControlState> = {};
  for (const name of ["cr0", "cr4", "efer"] as const) {
    const value = registers[name];
    if (value === undefined) continue;
    const unknown = value & ~(KNOWN[name] | MASKS[name].all);
    require(unknown === 0n, `${name.toUpperCase()} bits 0x${unknown.toString(16)}`);
    for (const { bit, mask } of MASKS[name].bits) state[bit] = (value & mask) !== 0n;
  }
  if (registers.pkru !== undefined) state.pkru = Number(registers.pkru);
  if (registers.pkrs !== undefined) state.pkrs = Number(registers.pkrs);
  return state;
}

function loadCr3(cpu: Cpu, value: bigint, pcid: number, keep: boolean): void {
  cpu.loadCr3(Number(value & 0xf_ffff_ffff_f000n), pcid, keep);
}

function run(machine: Machine, cpu: Cpu, step: Step): ToldResult {
  switch (step.op) {
    case "access":
      return told(access(cpu, step));
    case "write_entry":
      write(machine, step.pa, step.value);
      return { done: true };
    case "mov_cr3":
      return movCr3(cpu, step.value);
    case "invlpg":
      cpu.invlpg(step.la);
      return { done: true };
    case "invpcid":
      throw new Unsupported("INVPCID");
    case "control":
      return control(cpu, step);
  }
}

function movCr3(cpu: Cpu, value: bigint): ToldResult {
  const keep = value >> 63n === 1n;
  const address = BigInt.asUintN(63, value);
  const { pcide, model } = cpu.control;
  if ((keep && !pcide) || address >> BigInt(model.maxPhyAddr) !== 0n) {
    return { fault: { vector: VECTOR_GP, error: 0 } };
  }
  loadCr3(cpu, address, pcide ? Number(address & 0xfffn) : 0, keep);
  return { done: true };
}

function control(cpu: Cpu, { op: _, ...values }: Extract<Step, { op: "control" }>): ToldResult {
  require(values.cr0 === undefined || (values.cr0 & KNOWN.cr0) === KNOWN.cr0, "paging turned off");
  const levels = values.cr4 === undefined || (values.cr4 & CR4_LA57) === 0n ? 4 : 5;
  require(values.cr4 === undefined || levels === cpu.control.levels, "a change of CR4.LA57");
  const result = cpu.setControl(controlState(values));
  return result.ok ? { done: true } : { fault: { vector: VECTORS[result.fault], error: 0 } };
}

/** Stores are zeros, so that memory outside the case stays as every case begins: zero. */
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
      if (!cpu.control.cet || cpl !== 0 || (size !== 4 && size !== 8)) throw new Unsupported("this WRUSS");
      return cpu.wruss(la, 0n, size);
  }
}

function told(result: AccessResult): ToldResult {
  if (result.ok) return { pa: result.physical };
  const { kind, errorCode, address } = result.fault;
  if (kind !== "#PF") return { fault: { vector: VECTORS[kind], error: 0 } };
  return { fault: { vector: VECTOR_PF, error: errorCode, cr2: address } };
}

function require(has: boolean, what: string): void {
  if (!has) throw new Unsupported(what);
}
