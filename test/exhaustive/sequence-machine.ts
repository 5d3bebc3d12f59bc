import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type Cpu,
  cpuModel,
  Entry,
  type HardwareRecord,
  invpcid,
  linearHi,
  linearLo,
  Machine,
  type MachineOptions,
  type OracleOptions,
  type Outcome,
  OutcomeOracle,
  scopeOf,
} from "../../src/package/cpu.ts";
import type { AccessVector } from "./vector-file.ts";

type Fault = { readonly vector: number; readonly error: number };

export type SequenceAccess = {
  readonly op: "access";
  readonly la: string;
  readonly access: "read" | "write" | "rmw" | "fetch";
  readonly size: number;
  readonly cpl: 0 | 3;
  readonly ac: 0 | 1;
  readonly allowed: readonly {
    readonly pa?: string;
    readonly pf?: number;
    readonly src: "fresh" | "stale";
  }[];
};

export type SequenceStep =
  | { readonly op: "write_entry"; readonly pa: string; readonly value: string }
  | { readonly op: "mov_cr3"; readonly value: string; readonly fault?: Fault }
  | { readonly op: "invlpg"; readonly la: string }
  | {
      readonly op: "invpcid";
      readonly type: number;
      readonly pcid: string;
      readonly la: string;
      readonly fault?: Fault;
    }
  | ({ readonly op: "ctl"; readonly pkru?: string } & Partial<
      Record<"wp" | "nxe" | "pge" | "smep" | "smap" | "pke", 0 | 1>
    >)
  | SequenceAccess;

/** A line of `seq` or `seq-bochs-only`. */
export interface Sequence
  extends Pick<AccessVector, "id" | "group" | "cr0wp" | "cr4" | "efer_nxe" | "pkru" | "maxphyaddr"> {
  readonly name: string;
  readonly steps: readonly SequenceStep[];
}

/** What one access of a sequence came to: a physical address, or `pf` and an error code. */
export type Result = `0x${string}` | `pf ${number}`;

export interface AccessReport {
  readonly step: SequenceAccess;
  readonly result: Result;
  /** What the oracle allowed before the access; null when none was asked. */
  readonly oracle: readonly Outcome[] | null;
}

/** How an oracle is asked; `certain`: it is told of a page fault only where it allowed nothing else. */
export interface Ask extends Pick<OracleOptions, "cleanStore"> {
  readonly faultsDrop: "always" | "certain";
}

const KINDS = { read: ACCESS_READ, write: ACCESS_WRITE, rmw: ACCESS_WRITE, fetch: ACCESS_FETCH } as const;
const TABLES = 0x200_0000;
const TABLES_LENGTH = 0x4_0000;

/** Runs sequences on one kind of CPU: one machine, whose table frames and caches are emptied between two of them. */
export class SequenceMachine {
  readonly #machine: Machine;
  readonly #cpu: Cpu;

  constructor(options: Partial<MachineOptions>) {
    const model = { ...cpuModel("intel-icelake-client"), maxPhyAddr: 40 };
    this.#machine = new Machine({ memory: "64MiB", model, ...options });
    this.#cpu = this.#machine.cpu(0);
  }

  /** Every access of a sequence, with an oracle asked before each, or with none. */
  run(sequence: Sequence, ask: Ask | null): AccessReport[] {
    const machine = this.#machine;
    const cpu = this.#cpu;
    this.#reset(sequence);
    const oracle = ask === null ? null : new OutcomeOracle(machine, ask);
    let certain = true;
    const stop = machine.records.listen((record: HardwareRecord) => {
      const ofFault = record.kind === "invalidated" && record.cause === "#PF";
      if (!ofFault || certain || ask?.faultsDrop === "always") oracle?.observe(record);
    });
    const reports: AccessReport[] = [];
    for (const step of sequence.steps) {
      if (step.op !== "access") {
        perform(machine, cpu, step);
        continue;
      }
      cpu.cpl = step.cpl;
      cpu.ac = step.ac === 1;
      const kind = KINDS[step.access];
      const address = BigInt(step.la);
      const lo = linearLo(address);
      const hi = linearHi(address);
      const allowed = oracle?.allowed(0, kind, lo, hi) ?? null;
      certain = allowed?.every(({ errorCode }) => errorCode !== undefined) ?? true;
      const physical = cpu.translate(kind, lo, hi);
      cpu.cpl = 0;
      const result: Result = physical < 0 ? `pf ${cpu.fault?.errorCode ?? -1}` : `0x${physical.toString(16)}`;
      reports.push({ step, result, oracle: allowed });
    }
    stop();
    return reports;
  }

  #reset({ cr0wp, cr4, efer_nxe, pkru }: Sequence): void {
    const cpu = this.#cpu;
    this.#machine.memory.clear(TABLES, TABLES_LENGTH);
    cpu.cpl = 0;
    cpu.movCr3(0n);
    const result = cpu.setControl({
      wp: cr0wp === 1,
      nxe: efer_nxe === 1,
      pge: cr4.pge === 1,
      pcide: cr4.pcide === 1,
      smep: cr4.smep === 1,
      smap: cr4.smap === 1,
      pke: cr4.pke === 1,
      pks: cr4.pks === 1,
      pkru: Number(pkru),
    });
    if (!result.ok) throw new TypeError(`a sequence's registers are refused: ${result.why}`);
    cpu.invalidate("INVPCID 2", scopeOf("INVPCID 2", cpu.control));
  }
}

function perform(machine: Machine, cpu: Cpu, step: Exclude<SequenceStep, SequenceAccess>): void {
  switch (step.op) {
    case "write_entry": {
      const entry = Entry.fromBigInt(BigInt(step.value));
      machine.storeEntry(Number(step.pa), entry.lo, entry.hi, cpu.id);
      return;
    }
    case "mov_cr3":
      checkFault(cpu.movCr3(BigInt(step.value)).ok, step);
      return;
    case "invlpg":
      cpu.invlpg(BigInt(step.la));
      return;
    case "invpcid":
      checkFault(invpcid(cpu, step.type, BigInt(step.pcid), BigInt(step.la)).ok, step);
      return;
    case "ctl": {
      const { op: _op, pkru, ...bits } = step;
      const changes = Object.fromEntries(Object.entries(bits).map(([name, bit]) => [name, bit === 1]));
      const result = cpu.setControl({ ...changes, ...(pkru === undefined ? {} : { pkru: Number(pkru) }) });
      if (!result.ok) throw new TypeError(`step ${JSON.stringify(step)} is refused: ${result.why}`);
    }
  }
}

function checkFault(ok: boolean, step: { readonly fault?: Fault }): void {
  if (ok !== (step.fault === undefined)) {
    throw new TypeError(`step ${JSON.stringify(step)} ${ok ? "is done" : "faults"}`);
  }
}

/** An outcome of a file or of the oracle, in one form. */
export function textOf(outcome: { readonly pa?: string; readonly pf?: number } | Outcome): Result {
  if ("source" in outcome) {
    return outcome.physical === undefined ? `pf ${outcome.errorCode}` : `0x${outcome.physical.toString(16)}`;
  }
  return outcome.pa === undefined ? `pf ${outcome.pf ?? -1}` : `0x${BigInt(outcome.pa).toString(16)}`;
}
