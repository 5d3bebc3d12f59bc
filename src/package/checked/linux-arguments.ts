import { type Linear, PAGE_SIZE, type Pfn, type Slot } from "../../../arch/x86/cpu/address.ts";
import type { Argument, Owner } from "../../../arch/x86/cpu/argument.ts";
import {
  callable,
  instance,
  list,
  numeral,
  oneOf,
  shape,
  whole,
} from "../../../arch/x86/cpu/argument-kinds.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type {
  Task as ArchTask,
  KernelContext,
  MmContext,
  VmaContext,
} from "../../../arch/x86/mm/kernel-context.ts";
import { PteFormat } from "../../../arch/x86/mm/pte-format.ts";
import type { StepKind } from "../../../arch/x86/mm/step.ts";
import type { arch_tlbflush_unmap_batch } from "../../../arch/x86/mm/tlbbatch.ts";
import type { CallResult } from "../../mm/calls.ts";
import type { MappingEntry } from "../../mm/gup.ts";
import { Kernel } from "../../mm/kernel.ts";
import { MemMap } from "../../mm/mem_map.ts";
import {
  address_space,
  anon_vma,
  mm_struct,
  type mmu_notifier,
  type Task,
  vm_area_struct,
} from "../../mm/mm_types.ts";
import type { Cleaned } from "../../mm/page_mkclean.ts";
import { PageVmaMappedWalk } from "../../mm/page_vma_mapped.ts";
import type { MmapOptions } from "../../mm/populate.ts";
import { KERNEL_FUNCTIONS } from "../../mm/records.ts";
import type { rmap_walk_control } from "../../mm/rmap.ts";
import { rw_semaphore } from "../../mm/rwsem.ts";
import { BITS, ENTRY, NAME, OBJECT, WORD } from "./cpu-arguments.ts";

/* What arguments must be that have to do with the kernel. Whose they are is told by the kernel's mem_map. */

function ownerOf(kernel: KernelContext): Owner {
  return (kernel as Partial<Kernel>).mem_map ?? kernel;
}

export const KERNEL = instance<Kernel>("kernel", Kernel, { ownerOf });
export const MM = instance<mm_struct>("mm", mm_struct, { ownerOf: ({ kernel }) => ownerOf(kernel) });
export const VMA = instance<vm_area_struct>("vma", vm_area_struct, {
  ownerOf: ({ vm_mm }) => ownerOf(vm_mm.kernel),
});
export const MEM_MAP = instance("mem_map", MemMap, { ownerOf: (mem_map) => mem_map });

/* The same for the functions of arch/x86/mm, which take any kernel's. */

export const CONTEXT = shape<KernelContext>(
  "kernel",
  { machine: instance("machine", Machine), cpu_tlbstate: list("cpu_tlbstate", OBJECT) },
  { ownerOf },
);
export const MM_CONTEXT = shape<MmContext>(
  "mm",
  { kernel: CONTEXT, id: WORD, name: NAME, pgd: whole("pgd", 0, 2 ** 52 - 1) },
  { ownerOf: ({ kernel }) => ownerOf(kernel) },
);
export const VMA_CONTEXT = shape<VmaContext>(
  "vma",
  { vm_mm: MM_CONTEXT, vm_flags: WORD },
  { ownerOf: ({ vm_mm }) => ownerOf(vm_mm.kernel) },
);

/** A page is a frame of the kernel's memory. */
export const PAGE: Argument<Pfn> = {
  noun: "frame",
  words: (owner) =>
    owner instanceof MemMap ? `a whole number from 0 to ${owner.nr_pages - 1}` : "a frame of its kernel",
  types: ["number"],
  accepts: (value, owner) =>
    typeof value === "number" &&
    Number.isInteger(value) &&
    value >= 0 &&
    owner instanceof MemMap &&
    value < owner.nr_pages,
};
export const PAGE_OR_NONE: Argument<Pfn> = {
  ...PAGE,
  accepts: (value, owner) => value === -1 || PAGE.accepts(value, owner),
};
export const PAGES = list("pages", PAGE);

export const SLOT = numeral<Slot>(
  "address of an entry",
  "a multiple of 8 below 2^52",
  (value) => value >= 0 && value < 2 ** 52 && value % 8 === 0,
);
function isLinear(value: number): boolean {
  const exact = value <= Number.MAX_SAFE_INTEGER || value % PAGE_SIZE === 0;
  return Number.isInteger(value) && value >= 0 && value < 2 ** 64 && exact;
}
export const LINEAR = numeral<Linear>(
  "linear address",
  "a whole number below 2^64, of a page from 2^53 on",
  isLinear,
);
export const LINEAR_PAGE = numeral<Linear>(
  "linear address of a page",
  "a multiple of 4096 below 2^64",
  (value) => isLinear(value) && value % PAGE_SIZE === 0,
);
/** Where a range ends: one may end with the address space, and one that is Infinity is all of it. */
export const END = numeral<Linear>(
  "end of a range",
  "a linear address, 2^64, or TLB_FLUSH_ALL",
  (value) => isLinear(value) || value === 2 ** 64 || value === Number.POSITIVE_INFINITY,
);

export const TASK = shape<Task & ArchTask>(
  "task",
  { kernel: KERNEL, name: NAME, id: WORD, cpu: WORD },
  { ownerOf: ({ kernel }) => ownerOf(kernel) },
);
export const SEMAPHORE = instance("semaphore", rw_semaphore);
export const ANON_VMA = instance("anon_vma", anon_vma);
export const FILE = instance("file", address_space);
export const WALK = instance("walk", PageVmaMappedWalk, { ownerOf: ({ k }) => ownerOf(k) });
export const PTE_FORMAT = instance("pte format", PteFormat);
export const CPU_NUMBER = whole("CPU", 0, 1023);
export const MASK = list("set of CPUs", WORD);
export const BATCH = shape<arch_tlbflush_unmap_batch>("batch", { cpumask: MASK });
export const MAPPING = shape<MappingEntry>("mapping entry", {
  slot: numeral("slot", "a slot or NO_SLOT", (value) => value === -1 || value % 8 === 0),
  level: oneOf("level", [1, 2]),
  entry: ENTRY,
});
export const LISTENER = shape<mmu_notifier>("listener", {
  name: NAME,
  ops: OBJECT,
  sleeps: instance<never>("sleeps", Set as never),
});
export const RMAP_WALK = shape<rmap_walk_control<unknown>>("rmap_walk_control", {
  rmap_one: callable("rmap_one"),
});
export const CLEANED = shape<Cleaned>("count of cleaned entries", { entries: WORD });
/** Somebody else's protocol. */
export const PROTOCOL = shape<{ begin: unknown }>("protocol", { begin: callable("begin") });
export const MMAP_OPTIONS = shape<MmapOptions>("options of mmap", {});

const STEP_KINDS: readonly StepKind[] = [
  "lock",
  "unlock",
  "blocked",
  "entry",
  "flush",
  "ipi-wait",
  "notify",
  "free",
  "io",
  "access",
];
export const STEP_KIND = oneOf("kind of step", STEP_KINDS);
export const LOCK_LEVEL = oneOf("level of a table's lock", ["pte", "pmd", "mm"]);
export const KERNEL_FUNCTION = oneOf("function", KERNEL_FUNCTIONS);
/** What a function came to; undefined is ABANDONED. */
export const RESULT: Argument<CallResult> = {
  noun: "result",
  words: "a number, true, false or ABANDONED",
  types: [],
  accepts: (value) =>
    value === undefined || typeof value === "boolean" || (typeof value === "number" && !Number.isNaN(value)),
};
export const ORDER = whole("order", 0, 18);
export const COUNTER = whole("counter", 0, 3);
export const FLAGS = BITS;
export const HUGE_SIZE = oneOf<number>("size of a huge page", [2 ** 21, 2 ** 30]);
export const SWAP_TYPE = whole("swap type", 0, 31);
export const SWAP_OFFSET = whole("swap offset", 0, 2 ** 50 - 1);
