import { CAPABILITIES, type CapabilityName } from "./capabilities.ts";
import { type CaseCpu, type CaseQuestion, VENDORS } from "./case.ts";
import { FIXTURE_CPU } from "./fixture.ts";

/** A CPU that the pack is generated for. */
export interface PackCpu extends CaseCpu {
  /** Features of the CPU that it has not, beside 1-GiB pages. */
  readonly without: ReadonlySet<CapabilityName>;
}

const P = 1n;
/** The cases are written for this width: what is above it in an entry is there to be reserved. */
const WRITTEN_WIDTH = FIXTURE_CPU.maxphyaddr;
const ADDRESS_END = 52;
const FIRST = 1n << BigInt(WRITTEN_WIDTH);
/** Address bits that the cases' width reserves. */
const HIGH = (1n << BigInt(ADDRESS_END)) - FIRST;

/** Features that a CPU may be without: those of one CPUID bit. PKS is Intel's alone. */
export const OPTIONAL_FEATURES: readonly CapabilityName[] = (
  Object.keys(CAPABILITIES) as CapabilityName[]
).filter((name) => {
  const { of, cpuid } = CAPABILITIES[name];
  return of === "cpu" && cpuid !== null && /\[\d+\]$/.test(cpuid) && !name.startsWith("no-");
});

/** A CPU that has everything its vendor has, but for what is named. Throws RangeError for a width there is not. */
export function packCpu(
  vendor: CaseCpu["vendor"],
  maxphyaddr: number = WRITTEN_WIDTH,
  without: readonly CapabilityName[] = [],
): PackCpu {
  if (!VENDORS.includes(vendor)) throw new RangeError(`vendor ${vendor}: one of ${VENDORS.join(", ")}`);
  if (!Number.isInteger(maxphyaddr) || maxphyaddr < 36 || maxphyaddr > ADDRESS_END) {
    throw new RangeError(`MAXPHYADDR ${maxphyaddr}: a whole number from 36 to ${ADDRESS_END}`);
  }
  const lacking = new Set(without);
  if (vendor === "amd") lacking.add("pks");
  return { vendor, maxphyaddr, page1gb: !lacking.has("page1gb"), without: lacking };
}

/**
 * The case that a question is on a CPU, or null if it cannot be asked there: it is about another vendor or about what
 * the CPU has not. Reserved address bits move to where the CPU's begin; all else stays, so that an id means the same.
 */
export function questionFor(question: CaseQuestion, cpu: PackCpu): CaseQuestion | null {
  if (question.needs !== undefined && !question.needs.includes(cpu.vendor)) return null;
  const lacks = (name: CapabilityName): boolean => CAPABILITIES[name].needs(question);
  for (const name of cpu.without) if (lacks(name)) return null;
  if (cpu.page1gb && lacks("no-page1gb")) return null;
  const { vendor, maxphyaddr, page1gb } = cpu;
  const like = { ...question, cpu: { vendor, maxphyaddr, page1gb } };
  if (maxphyaddr === WRITTEN_WIDTH) return like;
  const { memory, steps } = question;
  const stored = steps.flatMap((step) => (step.op === "write_entry" ? [step] : []));
  const reserving = [...memory, ...stored].some(({ value }) => (value & P) !== 0n && (value & HIGH) !== 0n);
  if (reserving && maxphyaddr === ADDRESS_END) return null;
  return {
    ...like,
    memory: memory.map(({ pa, value }) => ({ pa, value: moved(value, maxphyaddr) })),
    steps: steps.map((step) => {
      return step.op === "write_entry" ? { ...step, value: moved(step.value, maxphyaddr) } : step;
    }),
  };
}

/** An entry whose reserved address bits are reserved at this width, too: the first one stays the first. */
function moved(value: bigint, width: number): bigint {
  const high = value & HIGH;
  if ((value & P) === 0n || high === 0n) return value;
  const first = 1n << BigInt(width);
  const still = high & -first & ~FIRST;
  return (value & ~HIGH) | still | (still === high ? 0n : first);
}
