import type { Linear, Pfn, Slot } from "../../arch/x86/cpu/address.ts";
import { PAGE_SIZE, PAGES_OF_LEVEL } from "../../arch/x86/cpu/address.ts";
import { CONTROL_BITS } from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../arch/x86/cpu/machine.ts";
import type { TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
import { type GuestSnapshot, loadGuestTables } from "../formats/guest-snapshot.ts";
import { Kernel, type KernelOptions } from "../mm/kernel.ts";
import type { mm_struct, NotifierProtocol, vm_area_struct } from "../mm/mm_types.ts";
import { highestFreeFrame, importFrames, reserveFrames } from "./frame-state.ts";
import type { LeftOutReason } from "./guest-mappings.ts";
import { depositTables, type ImportedMms, importMms, importPages } from "./guest-mms.ts";
import type { GuestPage } from "./guest-pages.ts";
import { importSwapCache, importSwapMap, type SoftwareKind, slotsFor } from "./guest-swap.ts";
import { type GuestScan, scanGuest } from "./scan-guest.ts";
import type { Tally } from "./tally.ts";

/** On what machine, and as which kernel, a guest runs. */
export interface ImportOptions {
  /** Logical CPUs, 1..32; default 1. All start idle, on the kernel's own tables. */
  readonly cpus?: number;
  readonly tlb?: TlbPolicy;
  /** Notifier protocol, by name or itself; default c. */
  readonly notifiers?: string | NotifierProtocol;
  /** CPU preset's name or model. Default: the machine's own, for five levels intel-sapphire-rapids. */
  readonly model?: string | CpuModel;
  /** Take a layout that can only be decoded, too: for {@link checkTruth}, which changes nothing. */
  readonly observe?: boolean;
}

/** One mapping of a page by the guest. */
export interface ImportedMapping {
  readonly mm: mm_struct;
  readonly vma: vm_area_struct;
  /** First linear address of the entry. */
  readonly address: Linear;
  /** 1 pte, 2 pmd, 3 pud. */
  readonly level: number;
  /** Physical address of the entry. */
  readonly slot: Slot;
  /** First frame that the entry maps. */
  readonly pfn: Pfn;
}

/** A guest as a running kernel. */
export interface ImportedGuest {
  readonly guest: GuestSnapshot;
  readonly machine: Machine;
  readonly kernel: Kernel;
  /** By process name, in the guest's order. */
  readonly mms: ReadonlyMap<string, mm_struct>;
  /** Pages that rmap finds, heads for compound ones, ascending. */
  readonly keptPages: readonly Pfn[];
  /** All mapped frames: how many are in rmap, and how many are not, by reason. */
  readonly frames: Tally;
  /** Entries that map nothing, by kind. */
  readonly software: ReadonlyMap<SoftwareKind, number>;
  /** Swap cache pages whose slot a swap entry named, and those that got a free one. */
  readonly swapCache: { readonly found: number; readonly made: number };
  /** Every mapping of a page that rmap keeps, of all subpages for a head; by process, then by address. */
  mappingsOf(page: Pfn): readonly ImportedMapping[];
  /** Why a page that is mapped is not in rmap, or null. */
  leftOutBecause(page: Pfn): LeftOutReason | null;
}

/**
 * Builds a machine and a kernel from a guest. Tables stay where they are and as they are, to the bit; what the
 * tables do not say comes from maps, smaps and kpageflags. The algorithms are
 * 4.13's, the layout of the entries is the guest's.
 *
 * Entries that lead to no table of the core are taken for empty. Throws FormatError for a root that is not there,
 * RangeError for a layout that can only be decoded (see {@link ImportOptions.observe}) or a guest without a free frame.
 */
export function importGuest(guest: GuestSnapshot, options: ImportOptions = {}): ImportedGuest {
  return importScan(scanGuest(guest), options);
}

/** The same, of a guest that was scanned before. */
export function importScan(scan: GuestScan, options: ImportOptions = {}): ImportedGuest {
  const { guest, format, vmas, mappings, software, pages, solution } = scan;
  const machine = bootMachine(guest, options);
  const kernel = bootKernel(guest, machine, {
    layout: format,
    observe: options.observe ?? false,
    swapSlots: slotsFor(software.swap, guest.kpageflags.length),
    ...(options.notifiers === undefined ? {} : { notifiers: options.notifiers }),
  });
  importFrames(kernel.mem_map, guest);
  reserveFrames(kernel.frames, guest);

  const imported = importMms(kernel, guest, vmas, solution, pages);
  importPages(kernel, pages, vmas, imported);
  importSwapMap(kernel, software.swap, imported.mms);
  const swapCache = importSwapCache(kernel, guest.kpageflags, pages, software.swap, solution);
  depositTables(kernel, mappings, vmas, imported.mms);
  return {
    guest,
    machine,
    kernel,
    mms: new Map(imported.mms.map((mm) => [mm.name, mm])),
    keptPages: pages.filter(({ reason }) => reason === null).map(({ head }) => head),
    frames: scan.frames,
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
  loadGuestTables(guest, machine.memory);
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
  kernel.frames.reserve(root as Pfn);
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
  const pageAt = (page: Pfn): GuestPage | undefined => {
    return mem_map.pfn_valid(page) ? byHead.get(mem_map.compound_head(page)) : undefined;
  };
  return {
    mappingsOf(page) {
      const found = pageAt(page);
      if (found === undefined || found.reason !== null) return [];
      return found.mappings
        .filter(
          ({ pfn, level }) => page === found.head || (page >= pfn && page < pfn + PAGES_OF_LEVEL[level]!),
        )
        .map(({ process, vma, address, level, slot, pfn }) => {
          return { mm: mms[process]!, vma: vmas[vma]!, address, level, slot, pfn };
        });
    },
    leftOutBecause: (page) => pageAt(page)?.reason ?? null,
  };
}
