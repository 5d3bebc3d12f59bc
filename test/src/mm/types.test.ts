import { expect, test } from "vitest";
import { Linear, NO_LINEAR, NO_PFN, NO_SLOT, Pfn, Slot } from "../../../arch/x86/cpu/address.ts";
import { type Handlers, handlerOf, IGNORED, ignoring } from "../../../arch/x86/cpu/record.ts";
import { readEntry } from "../../../arch/x86/mm/kernel-context.ts";
import type { pte_t } from "../../../arch/x86/mm/pgtable_types.ts";
import { set_pte_at } from "../../../arch/x86/mm/ptep.ts";
import { flush_tlb_page } from "../../../arch/x86/mm/tlb.ts";
import type { Kernel, mm_struct, vm_area_struct } from "../../../src/mm/mm_types.ts";
import { free_page, put_page } from "../../../src/mm/page_alloc.ts";
import { KINDS, type TraceRecord } from "../../../src/trace/record.ts";

/* A frame, a slot and a linear address are numbers that the compiler tells apart. None of these functions is called. */

interface Numbers {
  readonly k: Kernel;
  readonly mm: mm_struct;
  readonly vma: vm_area_struct;
  readonly page: Pfn;
  readonly slot: Slot;
  readonly address: Linear;
  readonly pte: pte_t;
}

const COMPILES: readonly ((numbers: Numbers) => void)[] = [
  ({ k, page }) => free_page(k, page),
  ({ k, page }) => put_page(k, page),
  ({ vma, address }) => void flush_tlb_page(vma, address),
  ({ mm, slot }) => void readEntry(mm, slot),
  ({ mm, slot, address, pte }) => set_pte_at(mm, address, slot, pte),
  // Any of them is a plain number to whoever wants no more.
  ({ page, slot, address }) => void Math.max(page, slot, address),
];

const DOES_NOT_COMPILE: readonly ((numbers: Numbers) => void)[] = [
  // @ts-expect-error a linear address is no frame
  ({ k, vma }) => free_page(k, vma.vm_start),
  // @ts-expect-error a slot is no frame
  ({ k, slot }) => put_page(k, slot),
  // @ts-expect-error a frame is no linear address
  ({ vma, page }) => void flush_tlb_page(vma, page),
  // @ts-expect-error a frame is no slot
  ({ mm, page }) => void readEntry(mm, page),
  // @ts-expect-error the address comes before the slot
  ({ mm, slot, address, pte }) => set_pte_at(mm, slot, address, pte),
  // @ts-expect-error a sum of frames is a number until somebody says what it is
  ({ k, page }) => put_page(k, page + 1),
  // @ts-expect-error nor does a literal say what it is
  ({ k }) => free_page(k, 0x345),
];

test("each of the mistakes above is a compile error; at run time all three are plain numbers", () => {
  expect([COMPILES.length, DOES_NOT_COMPILE.length]).toEqual([6, 7]);
  expect([Pfn.of(0x345), Slot.of(0x1008), Linear.of(0x7f00_0020_0000)]).toEqual([
    0x345, 0x1008, 0x7f00_0020_0000,
  ]);
  expect([NO_PFN, NO_SLOT, NO_LINEAR]).toEqual([-1, -1, -1]);
});

/* Whoever reads records names each kind, were it only to ignore it: a new kind is a compile error at every reader. */
type ReadsAll = Handlers<TraceRecord>;

const READERS: readonly ((all: ReadsAll) => ReadsAll)[] = [
  (all) => all,
  ({ halted: _, ...most }) => ({ ...most, ...ignoring("halted") }),
  (all) => ({ ...all, fault: ({ code }) => void code.toFixed() }),
];

const NO_READERS: readonly ((all: ReadsAll) => ReadsAll)[] = [
  // @ts-expect-error `halted` is neither handled nor ignored
  ({ halted: _, ...most }) => most,
  // @ts-expect-error nor is it here, where another kind is
  ({ halted: _, fault: __, ...most }) => ({ ...most, ...ignoring("fault") }),
  // @ts-expect-error there is no such kind
  (all): ReadsAll => ({ ...all, "page-fried": IGNORED }),
  // @ts-expect-error a fault has no slot
  (all) => ({ ...all, fault: ({ slot }) => void slot }),
  // @ts-expect-error an error code is no text
  (all) => ({ ...all, fault: ({ code }) => void code.toUpperCase() }),
  // @ts-expect-error nobody ignores a kind by giving nothing
  (all) => ({ ...all, halted: undefined }),
];

test("a reader that leaves a kind out is a compile error; at run time an unknown kind is ignored", () => {
  expect([READERS.length, NO_READERS.length]).toEqual([3, 6]);
  const all = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, IGNORED])) as ReadsAll;
  for (const reads of READERS) expect(Object.keys(reads(all)).sort()).toEqual(Object.keys(KINDS).sort());
  expect(handlerOf<TraceRecord>(all, "of-a-later-version")).toBe(IGNORED);
});
