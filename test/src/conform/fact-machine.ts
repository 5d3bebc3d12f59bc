import type { ConformCase, Outcome } from "../../../src/conform/case.ts";
import { runStep, setRegisters, storeWord } from "../../../src/conform/run-step.ts";
import { cpuModel, Machine } from "../../../src/package/cpu.ts";

const CR4_LA57 = 1n << 12n;

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
  for (const { pa, value } of memory) storeWord(machine, pa, value);
  const refused = setRegisters(cpu, registers);
  if (refused !== null) throw new TypeError(`the case cannot begin: ${refused}`);
  const results = steps.map((step) => runStep(machine, cpu, step));
  return { results, after: memory.map(({ pa }) => machine.memory.read(pa).toBigInt()) };
}
