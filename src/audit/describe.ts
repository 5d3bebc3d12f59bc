import { BYTES_OF_LEVEL, NONE, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { hex } from "../text/hex.ts";
import type { FindingDetails, Owed, StaleTranslation } from "./findings.ts";
import type { Context } from "./ledger/contexts.ts";
import type { ByteRange, Change, Debt } from "./ledger/debts.ts";
import type { Ledger } from "./ledger/ledger.ts";
import type { Spte } from "./ledger/listeners.ts";
import { type Leaf, RIGHT_EXECUTE, RIGHT_WRITE, storesLand, WAS_DIRTY } from "./ledger/translation.ts";

/* Words for what rules find. */

function rightsInWords(rights: number): string {
  const words = ["read"];
  if ((rights & RIGHT_WRITE) !== 0) words.push("write");
  if ((rights & RIGHT_EXECUTE) !== 0) words.push("execute");
  return words.join(", ");
}

/** A debt's cached translation, as a finding about that frame has it. */
export function staleDebt(debt: Debt, pfn: number): StaleTranslation {
  return {
    to: `frame ${hex(pfn)} by a cached translation`,
    size: BYTES_OF_LEVEL[debt.level]!,
    rights: rightsInWords(debt.rights),
    writable: storesLand(debt.rights),
    dirty: (debt.rights & WAS_DIRTY) !== 0,
  };
}

/** An entry that is still there, as a finding about that frame has it. */
export function staleLeaf(leaf: Leaf, pfn: number): StaleTranslation {
  return {
    to: `frame ${hex(pfn)} by ${leaf.protNone ? "a PROT_NONE entry" : "an entry"} that is still present`,
    size: BYTES_OF_LEVEL[leaf.level]!,
    rights: leaf.protNone ? "none" : rightsInWords(leaf.rights),
    writable: (leaf.rights & RIGHT_WRITE) !== 0,
    dirty: (leaf.rights & WAS_DIRTY) !== 0,
  };
}

/** A second-stage entry, as a finding about that frame has it. */
export function staleSpte(spte: Spte, pfn: number): StaleTranslation {
  return {
    to: `frame ${hex(pfn)} by the spte of guest frame ${hex(spte.gfn + pfn - spte.pfn)}`,
    size: BYTES_OF_LEVEL[spte.level]!,
    rights: spte.writable ? "read, write" : "read",
    writable: spte.writable,
    dirty: spte.dirty,
  };
}

/** "CPU 1", or the name of a device's listener. */
export function holderOf(l: Ledger, context: Context): string {
  return context.cpu === NONE ? l.spaces.nameOf("listener", context.listener) : `CPU ${context.cpu}`;
}

/** Id of the address space that a leaf belongs to, or NONE. */
export function spaceIdOf(l: Ledger, leaf: Leaf): number {
  return l.spaceOf(leaf.reach)?.id ?? NONE;
}

/** What an id or an index of a set of CPUs is called. */
export function cpusInWords(words: readonly number[]): string {
  return cpusIn(words)
    .map((cpu) => `CPU ${cpu}`)
    .join(", ");
}

/** Numbers of the CPUs in a set. */
export function cpusIn(words: readonly number[]): number[] {
  const cpus: number[] = [];
  words.forEach((word, i) => {
    for (let bit = 0; bit < 32; bit++) if (((word >>> bit) & 1) !== 0) cpus.push(32 * i + bit);
  });
  return cpus;
}

/** Whether a CPU is in a set. */
export function hasCpu(words: readonly number[], cpu: number): boolean {
  return (((words[cpu >>> 5] ?? 0) >>> (cpu & 31)) & 1) !== 0;
}

/** The 4 KiB at an address. */
export function pageRange(start: number): ByteRange {
  return { start, length: PAGE_SIZE };
}

/** Where the leaf maps a frame. */
export function addressIn(leaf: Leaf, pfn: number): number {
  return leaf.page + (pfn - leaf.pfn) * PAGE_SIZE;
}

function leafRange({ page, level }: Leaf): ByteRange {
  return { start: page, length: BYTES_OF_LEVEL[level]! };
}

/** A call that never came. */
export function missing(call: string, when = "", range: ByteRange | null = null): Owed {
  return { call, fault: "missing", when, range, passed: null };
}

/** The flush that a CPU's debt waits for. */
export function owedFlush(l: Ledger, change: Change, deadline: string): Owed {
  if (change.deferred) return missing("try_to_unmap_flush", `before ${deadline}`);
  const range = leafRange(change.leaf);
  if (spaceIdOf(l, change.leaf) === NONE) return missing("an invalidation", `before ${deadline}`, range);
  const call = change.leaf.level === 1 ? "flush_tlb_page" : "flush_tlb_range";
  return missing(call, `after ${change.site} changed its entry`, range);
}

/** The call that a device's debt waits for. */
export function owedInvalidation(l: Ledger, change: Change, deadline: string): Owed {
  if (change.missed !== null && change.told !== null) return owedRange(l, change);
  return missing("mmu_notifier_invalidate_range", `before ${deadline}`, leafRange(change.leaf));
}

/** The range call that should have covered a change, with what is wrong with the one that was made. */
export function owedRange(l: Ledger, change: Change): Owed {
  const { told, missed, leaf } = change;
  if (told === null || missed === null) return missing("mmu_notifier_invalidate_range", "", leafRange(leaf));
  const unaligned = told.range.start % l.pages.bytesOf(leaf.pfn) !== 0;
  return {
    call: "mmu_notifier_invalidate_range",
    fault: unaligned ? "unaligned start" : "too short",
    when: "",
    range: missed.needed,
    passed: { call: told.op, range: told.range, seq: told.seq },
  };
}

/** The call that a guest's spte waits for: it hears of ranges by their start and end alone. */
export function owedToGuest(spte: Spte): Owed {
  const { hostChange, guest } = spte;
  const call = "mmu_notifier_invalidate_range_start/end";
  const when = "around the walk";
  if (hostChange === null) return missing(call, when);
  const range = leafRange(hostChange.leaf);
  const { told } = hostChange;
  if (told === null || guest.ops.has(told.op)) return missing(call, when, range);
  const passed = { call: told.op, range: told.range, seq: told.seq };
  return { call, fault: "not heard", when, range, passed };
}

/** What is said of a cached translation that outlived its deadline: "the page is freed", "page_mkclean returns". */
export function debtDetails(
  l: Ledger,
  debt: Debt,
  pfn: number,
  deadline: string,
): Omit<FindingDetails, "moment"> {
  const { context, change } = debt;
  const linear = addressIn(change.leaf, pfn);
  const onCpu = context.cpu !== NONE;
  return {
    agent: holderOf(l, context),
    space: spaceIdOf(l, change.leaf),
    linear,
    pfn,
    stale: staleDebt(debt, pfn),
    changed: change,
    owed: onCpu ? owedFlush(l, change, deadline) : owedInvalidation(l, change, deadline),
    staleRanges: (onCpu ? null : change.missed?.stale) ?? [pageRange(linear)],
  };
}

/** What is said of an spte that the host's page has outlived. */
export function spteDetails(l: Ledger, spte: Spte, pfn: number): Omit<FindingDetails, "moment"> {
  const linear = spte.hva + (pfn - spte.pfn) * PAGE_SIZE;
  return {
    agent: l.spaces.nameOf("listener", spte.guest.id),
    space: spte.guest.space,
    linear,
    pfn,
    stale: staleSpte(spte, pfn),
    changed: spte.hostChange,
    owed: owedToGuest(spte),
    staleRanges: [pageRange(linear)],
  };
}
