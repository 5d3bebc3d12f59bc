import type { ACCESS_KINDS, CaseQuestion, Step } from "./case.ts";
import { type SWITCH_NAMES, switchNamesOn } from "./fixture.ts";
import { listOf, type Refuse, show } from "./json-value.ts";
import { expectationOf } from "./oracle.ts";

/** Something that a case may need: of the CPU, or of the program that is asked. */
export interface Capability {
  readonly of: "cpu" | "program";
  /** What who has it can do. */
  readonly means: string;
  /** Where CPUID tells it: leaf, register and bit; null where it does not. */
  readonly cpuid: string | null;
  /** When a case needs it. */
  readonly needed: string;
  needs(question: CaseQuestion): boolean;
}

type SwitchName = (typeof SWITCH_NAMES)[number];

const MAXPHYADDR = "maxphyaddr";
const LEAST_WIDTH = 36;
const MOST_WIDTH = 52;
const P = 1n;
const PS = 1n << 7n;
/** Bits of an address that some CPUs have and others reserve. */
const WIDE_BITS = (1n << BigInt(MOST_WIDTH)) - (1n << BigInt(LEAST_WIDTH));

/** Every word that is in memory at some time of the case. */
function* valuesOf({ memory, steps }: CaseQuestion): Generator<bigint> {
  for (const { value } of memory) yield value;
  for (const step of steps) if (step.op === "write_entry") yield step.value;
}

function some(question: CaseQuestion, bits: bigint): boolean {
  for (const value of valuesOf(question)) if ((value & P) !== 0n && (value & bits) !== 0n) return true;
  return false;
}

/** Whether a CPU with 1-GiB pages and one without must answer differently. */
function onGigabytePages(question: CaseQuestion): boolean {
  if (!some(question, PS)) return false;
  const told = [true, false].map((page1gb) => {
    const { results, after } = expectationOf({ ...question, cpu: { ...question.cpu, page1gb } });
    return JSON.stringify([results, after], (_, value: unknown) =>
      typeof value === "bigint" ? String(value) : value,
    );
  });
  return told[0] !== told[1];
}

function isOn(name: SwitchName): (question: CaseQuestion) => boolean {
  return ({ registers, steps }) =>
    switchNamesOn(registers).includes(name) ||
    steps.some((step) => step.op === "control" && switchNamesOn(step).includes(name));
}

/** A feature of the CPU behind a switch. */
function feature(name: SwitchName, bit: string, means: string, cpuid: string): Capability {
  return { of: "cpu", means, cpuid, needed: `${bit}=1 at the start or in a step`, needs: isOn(name) };
}

function op(name: Step["op"], means: string): Capability {
  const needs = ({ steps }: CaseQuestion): boolean => steps.some((step) => step.op === name);
  return { of: "program", means, cpuid: null, needed: `a step ${name}`, needs };
}

function kind(name: (typeof ACCESS_KINDS)[number], means: string): Capability {
  const needs = ({ steps }: CaseQuestion): boolean =>
    steps.some((step) => step.op === "access" && step.kind === name);
  return { of: "program", means, cpuid: null, needed: `an access of kind ${name}`, needs };
}

/** Whether something changes between two accesses that a TLB may have missed. */
function asksForStale({ steps }: CaseQuestion): boolean {
  const access = (step: Step): boolean => step.op === "access";
  const change = steps.findIndex((step) => step.op === "write_entry" || step.op === "control");
  return change > 0 && steps.slice(0, change).some(access) && steps.slice(change).some(access);
}

const isVendor = (vendor: "intel" | "amd") => (question: CaseQuestion) =>
  question.needs?.includes(vendor) === true || (vendor === "amd" && question.cpu.vendor === "amd");

/** What cases may need, by the names that programs declare it by, too. */
export const CAPABILITIES = {
  intel: {
    of: "cpu",
    means: "a CPU by Intel's manual",
    cpuid: "0 EBX, EDX, ECX",
    needed: "the answer is Intel's alone",
    needs: isVendor("intel"),
  },
  amd: {
    of: "cpu",
    means: "a CPU by AMD's manual",
    cpuid: "0 EBX, EDX, ECX",
    needed: "the CPU of the case is AMD's",
    needs: isVendor("amd"),
  },
  "amd-stale": {
    of: "cpu",
    means: "AMD's rules for what is cached: no fault that the tables in memory do not explain",
    cpuid: null,
    needed: "the answer is AMD's alone, and something changes between two accesses",
    needs: (question) => question.needs?.includes("amd") === true && asksForStale(question),
  },
  [MAXPHYADDR]: {
    of: "cpu",
    means: "any MAXPHYADDR; maxphyaddr:N is N alone",
    cpuid: "80000008 EAX[7:0]",
    needed: "a present entry has one of bits 51:36",
    needs: (question) => some(question, WIDE_BITS),
  },
  page1gb: {
    of: "cpu",
    means: "1-GiB pages",
    cpuid: "80000001 EDX[26]",
    needed: "a walk meets PS=1 in a PDPTE, and it is a page",
    needs: (question) => question.cpu.page1gb && onGigabytePages(question),
  },
  "no-page1gb": {
    of: "cpu",
    means: "to be without 1-GiB pages",
    cpuid: "80000001 EDX[26]",
    needed: "a walk meets PS=1 in a PDPTE, and it is reserved",
    needs: (question) => !question.cpu.page1gb && onGigabytePages(question),
  },
  nx: feature("nxe", "EFER.NXE", "execute-disable", "80000001 EDX[20]"),
  pge: feature("pge", "CR4.PGE", "global pages", "1 EDX[13]"),
  la57: feature("la57", "CR4.LA57", "five levels", "7 ECX[16]"),
  pcid: feature("pcide", "CR4.PCIDE", "process-context identifiers", "1 ECX[17]"),
  smep: feature("smep", "CR4.SMEP", "supervisor-mode execution prevention", "7 EBX[7]"),
  smap: feature("smap", "CR4.SMAP", "supervisor-mode access prevention", "7 EBX[20]"),
  pku: feature("pke", "CR4.PKE", "protection keys for user pages", "7 ECX[3]"),
  pks: feature("pks", "CR4.PKS", "protection keys for supervisor pages", "7 ECX[31]"),
  "cet-ss": feature("cet", "CR4.CET", "shadow stacks", "7 ECX[7]"),
  invpcid: { ...op("invpcid", "INVPCID"), of: "cpu", cpuid: "7 EBX[10]" },
  read: kind("read", "reads"),
  write: kind("write", "writes"),
  rmw: kind("rmw", "read-modify-writes"),
  fetch: kind("fetch", "fetches"),
  implicit_read: kind("implicit_read", "the CPU's own reads of descriptor tables"),
  wruss: kind("wruss", "WRUSS"),
  stack: {
    of: "program",
    means: "accesses through SS",
    cpuid: null,
    needed: "an access with stack",
    needs: ({ steps }) => steps.some((step) => step.op === "access" && step.stack),
  },
  "two-pages": {
    of: "program",
    means: "accesses that cross pages",
    cpuid: null,
    needed: "an access that does",
    needs: ({ steps }) =>
      steps.some((step) => step.op === "access" && (step.la & 0xfffn) + BigInt(step.size) > 0x1000n),
  },
  write_entry: op("write_entry", "stores by another CPU"),
  mov_cr3: op("mov_cr3", "MOV to CR3"),
  invlpg: op("invlpg", "INVLPG"),
  control: op("control", "loads of control registers"),
} as const satisfies Readonly<Record<string, Capability>>;

/** Name of a capability. */
export type CapabilityName = keyof typeof CAPABILITIES;
const ALL = Object.entries(CAPABILITIES) as [CapabilityName, Capability][];

/** What a case needs, by the names of {@link CAPABILITIES}; a width as "maxphyaddr:40". */
export function needsOf(question: CaseQuestion): string[] {
  return ALL.filter(([, capability]) => capability.needs(question)).map(([name]) =>
    name === MAXPHYADDR ? `${MAXPHYADDR}:${question.cpu.maxphyaddr}` : name,
  );
}

/** Whether who has these is to be asked a case. Null has everything. */
export function isDeclared(has: ReadonlySet<string> | null, question: CaseQuestion): boolean {
  if (has === null) return true;
  return needsOf(question).every((need) => {
    return has.has(need) || (need.startsWith(`${MAXPHYADDR}:`) && has.has(MAXPHYADDR));
  });
}

/** Parses the capabilities that a program declares. Throws what `refuse` makes for one that is not known. */
export function parseCapabilities(value: unknown, refuse: Refuse): ReadonlySet<string> {
  const words = listOf(value, "has", [1, 200], refuse);
  const declared = words.map((word, i) => {
    if (typeof word === "string" && (Object.hasOwn(CAPABILITIES, word) || isWidth(word))) return word;
    const names = Object.keys(CAPABILITIES).join(", ");
    throw refuse(`has[${i}] to be one of ${names}, or maxphyaddr:N, found ${show(word)}`);
  });
  return new Set(declared);
}

function isWidth(word: string): boolean {
  const width = /^maxphyaddr:(\d\d)$/.exec(word)?.[1];
  return width !== undefined && Number(width) >= LEAST_WIDTH && Number(width) <= MOST_WIDTH;
}
