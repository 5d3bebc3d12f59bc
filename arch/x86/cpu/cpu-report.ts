import { NONE, type Pfn, type Slot } from "./address.ts";
import type { ControlRegisters } from "./control-registers.ts";
import type { InvalidationScope } from "./invalidation-scope.ts";
import type { Location } from "./memory-access.ts";
import type { PageFault } from "./page-fault.ts";
import type { RecordSink } from "./record-stream.ts";
import type { ACCESS_KINDS, HardwareRecord, INVALIDATION_CAUSES, RegisterName } from "./records.ts";
import { OFFSET_MASK, type WalkResult } from "./walk-result.ts";

/*
 * What a CPU records, one function a kind. Most assume that somebody listens. The CPU knows no address space: whoever
 * follows its roots does.
 */

type Records = RecordSink<HardwareRecord>;

/** By kind of access (ACCESS_*); there is no kind 3. */
const ACCESS_NAMES: readonly (typeof ACCESS_KINDS)[number][] = [
  "read",
  "write",
  "fetch",
  "read",
  "shadow-read",
  "shadow-write",
];

/** Two ids a CPU, in the order in which a machine introduces them; 0 is outside. */
export function walkerOf(cpu: number): number {
  return 1 + 2 * cpu;
}

export function interruptHandlerOf(cpu: number): number {
  return 2 + 2 * cpu;
}

/** One access inside a page: the words of its linear address, and where it went. */
export function reportAccess(
  records: Records,
  cpu: number,
  kind: number,
  size: number,
  linearLo: number,
  linearHi: number,
  physical: number,
  hit: boolean,
): void {
  const tell = records.hearer("access");
  if (tell === null) return;
  tell({
    kind: "access",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    access: ACCESS_NAMES[kind]!,
    size,
    linearLo,
    linearHi,
    physical,
    hit,
  });
}

/** An access of any place: one record for each page it touched. */
export function reportLocated(records: Records, cpu: number, kind: number, size: number, at: Location): void {
  reportAccess(records, cpu, kind, at.inFirst, at.lo, at.hi, at.first, at.firstHit);
  if (at.second < 0) return;
  reportAccess(records, cpu, kind, size - at.inFirst, at.nextLo, at.nextHi, at.second, at.secondHit);
}

/** A or D set by a walk on behalf of an agent: the entry's place, its low word before and after, its high word. */
export function reportUpdate(
  records: Records,
  cpu: number,
  agent: number,
  slot: Slot,
  oldLo: number,
  entryLo: number,
  hi: number,
): void {
  const tell = records.hearer("accessed-dirty-set");
  if (tell === null) return;
  tell({
    kind: "accessed-dirty-set",
    seq: records.next(),
    agent,
    cpu,
    space: NONE,
    slot,
    oldLo,
    oldHi: hi,
    entryLo,
    entryHi: hi,
  });
}

/** A successful walk went into the TLB. */
export function reportFill(
  records: Records,
  cpu: number,
  pcid: number,
  found: WalkResult,
  global: boolean,
): void {
  const { level, linearLo, linearHi, physical, rights, dirty } = found;
  const offset = OFFSET_MASK[level] ?? 0;
  const tell = records.hearer("tlb-filled");
  if (tell === null) return;
  tell({
    kind: "tlb-filled",
    seq: records.next(),
    agent: walkerOf(cpu),
    cpu,
    space: NONE,
    pcid,
    linearLo: linearLo & ~offset,
    linearHi,
    level,
    pfn: ((physical - (linearLo & offset)) / 4096) as Pfn,
    rights,
    dirty,
    global,
  });
}

export function reportInvalidated(
  records: Records,
  cpu: number,
  cause: (typeof INVALIDATION_CAUSES)[number],
  { pcid, page, globals, tables }: InvalidationScope,
): void {
  const tell = records.hearer("invalidated");
  if (tell === null) return;
  tell({
    kind: "invalidated",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    cause,
    pcid,
    all: page === null,
    linearLo: page === null ? 0 : page.lo,
    linearHi: page === null ? 0 : page.hi,
    globals,
    tables,
    flush: records.flush,
  });
}

export function reportFault(records: Records, cpu: number, fault: PageFault): void {
  records.emit({
    kind: "fault",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    fault: fault.kind,
    code: fault.errorCode,
    linearLo: fault.lo,
    linearHi: fault.hi,
  });
}

export function reportRoot(
  records: Records,
  cpu: number,
  oldRoot: number,
  root: number,
  pcid: number,
  keep: boolean,
): void {
  records.emit({
    kind: "cr3-loaded",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    oldRoot,
    root,
    pcid,
    keep,
  });
}

export function reportRegister(records: Records, cpu: number, register: RegisterName, value: bigint): void {
  records.emit({
    kind: "register-loaded",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    register,
    valueLo: Number(BigInt.asIntN(32, value)),
    valueHi: Number(BigInt.asIntN(32, value >> 32n)),
  });
}

/** Records every register whose value is another than before. */
export function reportRegisters(
  records: Records,
  cpu: number,
  control: ControlRegisters,
  before: ReadonlyMap<RegisterName, number>,
): void {
  for (const [register, value] of registersOf(control)) {
    if (value !== before.get(register)) reportRegister(records, cpu, register, BigInt(value));
  }
}

/** The control registers, by name, with their values. */
export function registersOf({
  cr0,
  cr4,
  efer,
  pkru,
  pkrs,
}: ControlRegisters): ReadonlyMap<RegisterName, number> {
  return new Map([
    ["CR0", cr0],
    ["CR4", cr4],
    ["EFER", efer],
    ["PKRU", pkru],
    ["PKRS", pkrs],
  ]);
}

export function reportPrivilege(records: Records, cpu: number, cpl: number): void {
  records.emit({
    kind: "privilege-changed",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    cpl,
  });
}

/** The vector by which this machine's CPUs interrupt each other: that of Linux's CALL_FUNCTION. */
export const IPI_VECTOR = 0xfb;

export function reportIpiSent(records: Records, from: number, to: number, flush: number): void {
  records.emit({
    kind: "ipi-sent",
    seq: records.next(),
    agent: records.agent,
    cpu: from,
    space: NONE,
    to,
    flush,
  });
}

export function reportInterruptTaken(records: Records, cpu: number): void {
  const tell = records.hearer("interrupt-taken");
  if (tell === null) return;
  tell({
    kind: "interrupt-taken",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    vector: IPI_VECTOR,
  });
}

export function reportIpiHandled(records: Records, cpu: number, from: number, flush: number): void {
  const tell = records.hearer("ipi-handled");
  if (tell === null) return;
  tell({
    kind: "ipi-handled",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    from,
    flush,
  });
}

export function reportEntryWritten(
  records: Records,
  cpu: number,
  slot: Slot,
  oldLo: number,
  oldHi: number,
  entryLo: number,
  entryHi: number,
): void {
  const tell = records.hearer("entry-written");
  if (tell === null) return;
  tell({
    kind: "entry-written",
    seq: records.next(),
    agent: records.agent,
    cpu,
    space: NONE,
    slot,
    oldLo,
    oldHi,
    entryLo,
    entryHi,
  });
}
