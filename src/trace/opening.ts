import { NONE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { reportPrivilege, reportRegister, reportRoot } from "../../arch/x86/cpu/cpu-report.ts";
import { linearHi, linearLo } from "../../arch/x86/cpu/linear-address.ts";
import type { Machine } from "../../arch/x86/cpu/machine.ts";
import { registersOf } from "../../arch/x86/cpu/mmu.ts";
import { MEMORY_TYPES, type MemoryType, PAT_RESET } from "../../arch/x86/cpu/pat.ts";
import {
  introductionOf,
  NO_FLUSH,
  OUTSIDE_AGENT,
  type RecordSink,
} from "../../arch/x86/cpu/record-stream.ts";
import type { HardwareRecord } from "../../arch/x86/cpu/records.ts";
import { TLBSTATE_LAZY } from "../../arch/x86/mm/kernel-context.ts";
import { swp_offset, swp_type } from "../../arch/x86/mm/swap-entry.ts";
import { spaceRecords } from "../mm/kernel.ts";
import { PG } from "../mm/mem_map.ts";
import type { Kernel, mm_struct } from "../mm/mm_types.ts";
import { vmaRecord } from "../mm/mm_types.ts";
import { listenerRecords } from "../mm/mmu_notifier.ts";
import { flagRecord, swapCountRecord, swapSlotRecord } from "../mm/report.ts";
import { backingRecord } from "../mm/util.ts";
import type { TraceRecord } from "./record.ts";

/*
 * What is the case when somebody begins to listen, told in the same words as what happens afterwards, so that no listener
 * needs to look at anything else. Every record of an opening has the number 0.
 */

/** What is the case on a machine: who may act, each CPU's registers, roots and PCIDs. */
export function machineOpening(machine: Machine): TraceRecord[] {
  const opening: TraceRecord[] = [];
  const sink: RecordSink<HardwareRecord> = {
    live: true,
    hearer: () => (record) => void opening.push(record),
    agent: OUTSIDE_AGENT,
    flush: NO_FLUSH,
    next: () => 0,
    emit: (record) => void opening.push(record),
  };
  for (const agent of machine.records.agents) opening.push(...introductionOf(agent, sink.next));
  for (const { id, control, cpl, contexts } of machine.cpus) {
    for (const [register, value] of registersOf(control)) reportRegister(sink, id, register, BigInt(value));
    const pat = patValue(control.pat);
    if (pat !== PAT_RESET) reportRegister(sink, id, "PAT", pat);
    reportPrivilege(sink, id, cpl);
    for (const [pcid, root] of contexts) {
      if (pcid !== control.pcid) reportRoot(sink, id, root, root, pcid, true);
    }
    reportRoot(sink, id, control.root, control.root, control.pcid, true);
  }
  return opening;
}

/** IA32_PAT with these types. */
function patValue(types: readonly MemoryType[]): bigint {
  return types.reduceRight((value, type) => (value << 8n) | BigInt(MEMORY_TYPES.indexOf(type)), 0n);
}

/** What is the case in a kernel, its machine included. */
export function kernelOpening(k: Kernel): TraceRecord[] {
  return k.records.aside(() => {
    const opening: TraceRecord[] = [...machineOpening(k.machine), ...spaceRecords(k.init_mm)];
    for (const mm of k.mms) opening.push(...spaceOpening(k, mm));
    k.cpu_tlbstate.forEach(({ state, loaded_mm }, cpu) => {
      if (state !== TLBSTATE_LAZY) return;
      opening.push({ kind: "lazy-entered", seq: 0, agent: OUTSIDE_AGENT, cpu, space: loaded_mm.id });
    });
    for (let page = 0; page < k.mem_map.nr_pages; page++) openPage(k, page as Pfn, opening);
    k.swap.swap_map.forEach((_, swap) => {
      if (k.swap.references(swap) > 0) opening.push(swapCountRecord(k, swap));
    });
    return opening;
  });
}

function* spaceOpening(k: Kernel, mm: mm_struct): Iterable<TraceRecord> {
  yield* spaceRecords(mm);
  for (const vma of mm.mmap) yield vmaRecord(k, vma);
  // The one that was registered last is called first.
  for (const registration of [...(mm.mmu_notifier_mm?.list ?? [])].reverse()) {
    yield* listenerRecords(k, mm, registration);
  }
  if ((mm.mmu_notifier_mm?.list.length ?? 0) === 0) return;
  for (const { agent, start, end } of mm.brackets) {
    const bytes = end - start;
    yield {
      kind: "notifier-called",
      ...k.header(mm),
      agent,
      op: "invalidate_range_start",
      linearLo: linearLo(start),
      linearHi: linearHi(start),
      bytes: Number.isFinite(bytes) ? bytes : 0,
      all: !Number.isFinite(bytes),
    };
  }
}

/** What is said of a page whose facts are not those of a free one. */
function openPage(k: Kernel, page: Pfn, opening: TraceRecord[]): void {
  const { mem_map } = k;
  const flags = mem_map.flags[page]!;
  if ((flags & PG.head) !== 0) {
    const order = mem_map.compound_order[page]!;
    opening.push({ kind: "page-compound", ...k.header(), pfn: page, order, hugetlb: mem_map.PageHuge(page) });
  }
  if (mem_map.compound_head(page) === page) {
    if (mem_map.hasRmapping(page)) opening.push(backingRecord(k, page));
    if ((flags & PG.dirty) !== 0) opening.push(flagRecord(k, page, "dirty", true));
    if ((flags & PG.writeback) !== 0) opening.push(flagRecord(k, page, "writeback", true));
    if (mem_map.PageSwapCache(page)) opening.push(flagRecord(k, page, "swap-cache", true));
  }
  if (!mem_map.PageSwapCache(page)) return;
  const entry = mem_map.page_private(page);
  opening.push(swapSlotRecord(k, page, swp_type(entry) === 0 ? swp_offset(entry) : NONE));
}
