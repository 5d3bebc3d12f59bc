import { Entry } from "../../arch/x86/cpu/entry.ts";
import { kindOf, type LayoutModel } from "../../arch/x86/cpu/entry-layout.ts";
import type { PathStep } from "../../arch/x86/cpu/walk-result.ts";
import type { AccessStep, CaseCpu, ConformCase, Registers } from "./case.ts";
import { switchNamesOn } from "./fixture.ts";
import { expectationOf } from "./oracle.ts";
import { isCanonical, type Path, walkDown } from "./oracle-walk.ts";

/** An access of a case, and the walk that memory and registers make of it when it is due. */
export interface CaseWalk {
  readonly access: AccessStep;
  readonly cpu: CaseCpu;
  readonly registers: Registers;
  /** Names of the switches that are on. */
  readonly on: ReadonlySet<string>;
  readonly layout: LayoutModel;
  readonly end: Path;
  /** The entries that were read, the top one first; none for an address that is not canonical. */
  readonly path: readonly PathStep[];
}

/** The walk that a step makes at an address, by what memory says before it; null for a step that is no access. */
export function walkOfStep(conformCase: ConformCase, index: number, la?: bigint): CaseWalk | null {
  const { cpu, steps } = conformCase;
  const access = steps[index];
  if (access?.op !== "access") return null;
  const registers = registersBefore(conformCase, index);
  const on = new Set<string>(switchNamesOn(registers));
  const layout = {
    vendor: cpu.vendor,
    maxPhyAddr: cpu.maxphyaddr,
    gbPages: cpu.page1gb,
    nxe: on.has("nxe"),
    pge: on.has("pge"),
    keys: on.has("pke") || on.has("pks"),
  };
  const memory = memoryBefore(conformCase, index);
  const read = (pa: number): bigint => memory.get(pa) ?? 0n;
  const at = la ?? access.la;
  const end = walkDown(at, cpu, registers, read);
  const top = on.has("la57") ? 5 : 4;
  const path = !isCanonical(at, registers)
    ? []
    : end.entries.map((address, i) => {
        const entry = Entry.fromBigInt(read(address));
        return { level: top - i, kind: kindOf(top - i, entry.lo), address, entry };
      });
  return { access, cpu, registers, on, layout, end, path };
}

function memoryBefore(conformCase: ConformCase, index: number): ReadonlyMap<number, bigint> {
  const { memory, steps } = conformCase;
  if (index === 0) return new Map(memory.map(({ pa, value }) => [pa, value]));
  const { after } = expectationOf({ ...conformCase, steps: steps.slice(0, index) });
  return new Map(memory.map(({ pa }, i) => [pa, after[i]!.value]));
}

function registersBefore({ registers, steps, expect }: ConformCase, index: number): Registers {
  let values = registers;
  steps.slice(0, index).forEach((step, i) => {
    if (!expect.results[i]?.allow.some((outcome) => "done" in outcome)) return;
    if (step.op === "mov_cr3") values = { ...values, cr3: step.value & ~(1n << 63n) };
    if (step.op === "control") {
      const { op: _, ...loaded } = step;
      values = { ...values, ...loaded };
    }
  });
  return values;
}
