import { CONTROL_BITS } from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import type { TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { PteFormat, pteLayout } from "../../arch/x86/mm/pte-format.ts";
import { loadInto } from "../formats/elf-core.ts";
import { type GuestSnapshot, guestRoots, validateTables } from "../formats/guest-snapshot.ts";
import { Kernel, type KernelOptions } from "../mm/kernel.ts";
import type { mm_struct } from "../mm/mm_struct.ts";
import type { vm_area_struct } from "../mm/vma.ts";
import { AnonSets } from "./anon-sets.ts";
import { highestFreeFrame, importFrames } from "./frame-state.ts";
import { collectEntries, flattenVmas, framesAt, type LeftOutReason } from "./guest-mappings.ts";
import { depositTables, type ImportedMms, importMms, importPages } from "./guest-mms.ts";
import {
  fileBase,
  type GuestPage,
  groupPages,
  joinAnonPages,
  placeAnonPages,
  placeFilePages,
} from "./guest-pages.ts";
import {
  importSwapCache,
  importSwapMap,
  joinSwapEntries,
  type SoftwareKind,
  slotsFor,
  sortSoftware,
  swapTypesOf,
} from "./guest-swap.ts";
import { type Tally, tallyFrames } from "./tally.ts";

const PAGE_SIZE = 4096;

export interface ImportOptions {
  /** Logical CPUs, 1..32; default 1. All start idle, on the kernel's own tables. */
  readonly cpus?: number;
  readonly tlb?: TlbPolicy;
  /** Notifier protocol by name; default c. */
  readonly notifiers?: string;
  /** CPU preset's name or model. Default: the machine's own, for five levels intel-sapphire-rapids. */
  readonly model?: string | CpuModel;
}

/** One mapping of a page by the guest. */
export interface ImportedMapping {
  readonly mm: mm_struct;
  readonly vma: vm_area_struct;
  /** First linear address of the entry. */
  readonly address: number;
  /** 1 pte, 2 pmd, 3 pud. */
  readonly level: number;
  /** Physical address of the entry. */
  readonly slot: number;
  /** First frame that the entry maps. */
  readonly pfn: number;
}

/** A guest as a running kernel. */
export interface ImportedGuest {
  readonly guest: GuestSnapshot;
  readonly machine: Machine;
  readonly kernel: Kernel;
  /** By process name, in the guest's order. */
  readonly mms: ReadonlyMap<string, mm_struct>;
  /** Pages that rmap finds, heads for compound ones, ascending. */
  readonly keptPages: readonly number[];
  /** All mapped frames: how many are in rmap, and how many are not, by reason. */
  readonly frames: Tally;
  /** Entries that map nothing, by kind. */
  readonly software: ReadonlyMap<SoftwareKind, number>;
  /** Swap cache pages whose slot a swap entry named, and those that got a free one. */
  readonly swapCache: { readonly found: number; readonly made: number };
  /** Every mapping of a page that rmap keeps, of all subpages for a head; by process, then by address. */
  mappingsOf(page: number): readonly ImportedMapping[];
  /** Why a page that is mapped is not in rmap, or null. */
  leftOutBecause(page: number): LeftOutReason | null;
}

/**
 * Builds a machine and a kernel from a guest. Tables stay where they are and as they are, to the bit; what the
 * tables do not say comes from maps, smaps and kpageflags (linux-mm 4 says what a kernel keeps). The algorithms are
 * 4.13's, the layout of the entries is the guest's.
 *
 * Throws FormatError for tables that lead nowhere, RangeError for a layout that can only be decoded or a guest
 * without a free frame.
 */
export function importGuest(guest: GuestSnapshot, options: ImportOptions = {}): ImportedGuest {
  const machine = bootMachine(guest, options);
  const format = new PteFormat(pteLayout(guest.layout), swapTypesOf(guest.swapTypes));
  const vmas = flattenVmas(guest);
  const entries = collectEntries(guest, machine.memory, format, vmas);
  const software = sortSoftware(format, entries.software);
  const kernel = bootKernel(guest, machine, {
    layout: format,
    swapSlots: slotsFor(software.swap, guest.kpageflags.length),
    ...(options.notifiers === undefined ? {} : { notifiers: options.notifiers }),
  });
  importFrames(kernel, guest);

  const { mem_map } = kernel;
  const pages = groupPages(guest.kpageflags, mem_map, entries.mappings, vmas);
  placeFilePages(mem_map, pages, vmas);
  const sets = new AnonSets(vmas.map(fileBase));
  joinAnonPages(pages, sets);
  joinSwapEntries(software.swap, sets);
  const solution = sets.solve(vmas.map(({ vma }) => vma.start));
  placeAnonPages(mem_map, pages, solution.base);

  const imported = importMms(kernel, guest, vmas, solution, pages);
  importPages(kernel, pages, vmas, imported);
  importSwapMap(kernel, software.swap, imported.mms);
  const swapCache = importSwapCache(kernel, guest.kpageflags, pages, software.swap, solution);
  depositTables(kernel, entries.mappings, vmas, imported.mms);
  return {
    guest,
    machine,
    kernel,
    mms: new Map(imported.mms.map((mm) => [mm.name, mm])),
    keptPages: pages.filter(({ reason }) => reason === null).map(({ head }) => head),
    frames: tallyFrames(entries.mappings, pages),
    software: software.counts,
    swapCache,
    ...pageIndex(kernel, pages, imported),
  };
}

/** A machine of the guest's size with its tables in memory and its control bits, as far as the CPU model has them. */
function bootMachine(guest: GuestSnapshot, options: ImportOptions): Machine {
  const model = options.model ?? (guest.levels === 5 ? "intel-sapphire-rapids" : undefined);
  const machine = new Machine({
    memory: guest.memoryBytes,
    levels: guest.levels,
    cpus: options.cpus ?? 1,
    ...(options.tlb === undefined ? {} : { tlb: options.tlb }),
    ...(model === undefined ? {} : { model }),
  });
  loadInto(machine.memory, guest.core);
  validateTables(guest.core, machine.memory, guestRoots(guest), guest.levels);
  setControl(machine, guest);
  return machine;
}

/** The guest's control bits. Left out are those the model lacks, and PCIDs, which 4.13 does not use. */
function setControl(machine: Machine, guest: GuestSnapshot): void {
  const registers = { CR0: guest.cr0, CR4: guest.cr4, EFER: guest.efer };
  const bits = CONTROL_BITS.filter(({ name, feature }) => {
    return name !== "pcide" && (feature === null || machine.model[feature]);
  }).map(({ name, register, bit }) => [name, Math.floor(registers[register] / 2 ** bit) % 2 === 1]);
  for (const cpu of machine.cpus) cpu.setControl(Object.fromEntries(bits));
}

/**
 * A kernel whose own root is a fresh table with the first process's kernel half: all processes map the same there.
 */
function bootKernel(guest: GuestSnapshot, machine: Machine, options: KernelOptions): Kernel {
  const { memory } = machine;
  const root = highestFreeFrame(guest);
  const kernel = new Kernel(machine, { ...options, initPgd: root * PAGE_SIZE });
  kernel.frames.reserve(root);
  kernel.mem_map._refcount[root] = 1;
  const half = root * PAGE_SIZE + PAGE_SIZE / 2;
  memory.clear(root * PAGE_SIZE, PAGE_SIZE);
  const model = guest.processes[0];
  if (model !== undefined) {
    memory.bytesAt(half, PAGE_SIZE / 2).set(memory.bytesAt(model.root + PAGE_SIZE / 2, PAGE_SIZE / 2));
  }
  return kernel;
}

function pageIndex(
  { mem_map }: Kernel,
  pages: readonly GuestPage[],
  { mms, vmas }: ImportedMms,
): Pick<ImportedGuest, "mappingsOf" | "leftOutBecause"> {
  const byHead = new Map(pages.map((page) => [page.head, page]));
  const pageAt = (page: number): GuestPage | undefined => {
    return mem_map.pfn_valid(page) ? byHead.get(mem_map.compound_head(page)) : undefined;
  };
  return {
    mappingsOf(page) {
      const found = pageAt(page);
      if (found === undefined || found.reason !== null) return [];
      return found.mappings
        .filter(({ pfn, level }) => page === found.head || (page >= pfn && page < pfn + framesAt(level)))
        .map(({ process, vma, address, level, slot, pfn }) => {
          return { mm: mms[process]!, vma: vmas[vma]!, address, level, slot, pfn };
        });
    },
    leftOutBecause: (page) => pageAt(page)?.reason ?? null,
  };
}
