import { cpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import type { Answer } from "./answer.ts";
import { type CaseCpu, type CaseQuestion, MEMORY_LIMIT } from "./case.ts";
import { runStep, setRegisters, storeWord } from "./run-step.ts";
import type { Subject } from "./subject.ts";

const CR4_LA57 = 1n << 12n;

/** Machines kept for cases to come. */
const MAX_MACHINES = 16;

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
  answer({ cpu: features, registers, memory, steps }: CaseQuestion): Answer {
    const { vendor, maxphyaddr, page1gb } = features;
    const levels = (registers.cr4 & CR4_LA57) === 0n ? 4 : 5;
    const key = `${vendor} ${maxphyaddr} ${page1gb} ${levels}`;
    const machine = this.#machines.get(key) ?? this.#boot(key, features, levels);
    const cpu = machine.cpu(0);
    for (const { pa, value } of memory) storeWord(machine, pa, value);
    try {
      const refused = setRegisters(cpu, registers);
      if (refused !== null) return { unsupported: refused };
      const results = steps.map((step) => runStep(machine, cpu, step));
      return { results, after: memory.map(({ pa }) => machine.memory.read(pa).toBigInt()) };
    } finally {
      for (const { pa } of memory) storeWord(machine, pa, 0n);
      // The next case's load of CR3 drops what is neither global nor of another PCID. Paging stays off once turned off.
      const { pge, pcide } = cpu.control;
      const controls = steps.flatMap((step) => (step.op === "control" ? [step] : []));
      if (controls.some(({ cr0 }) => cr0 !== undefined)) this.#machines.delete(key);
      else if (pge || pcide || controls.length > 0) cpu.tlb.flushAll();
    }
  }

  #boot(key: string, { vendor, maxphyaddr, page1gb }: CaseCpu, levels: 4 | 5): Machine {
    const base = cpuModel("intel-sapphire-rapids");
    const model = { ...base, name: "conform", vendor, maxPhyAddr: maxphyaddr, gbPages: page1gb };
    const machine = new Machine({ memory: MEMORY_LIMIT, model, levels, tlb: "stale" });
    if (this.#machines.size === MAX_MACHINES) this.#machines.clear();
    this.#machines.set(key, machine);
    return machine;
  }
}
