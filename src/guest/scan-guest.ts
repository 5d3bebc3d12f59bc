import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { PteFormat, pteLayout } from "../../arch/x86/mm/pte-format.ts";
import { type GuestSnapshot, loadGuestTables } from "../formats/guest-snapshot.ts";
import type { LostTable } from "../formats/table-pages.ts";
import { MemMap } from "../mm/mem_map.ts";
import { AnonSets, type AnonSolution } from "./anon-sets.ts";
import { importFrames } from "./frame-state.ts";
import { collectEntries, flattenVmas, type NumberedVma, type UserMapping } from "./guest-mappings.ts";
import {
  fileBase,
  type GuestPage,
  groupPages,
  joinAnonPages,
  placeAnonPages,
  placeFilePages,
} from "./guest-pages.ts";
import { joinSwapEntries, type SoftwareEntries, sortSoftware, swapTypesOf } from "./guest-swap.ts";
import { type Tally, tallyFrames } from "./tally.ts";

/** What a guest's tables and records say, found out once for any number of kernels that are built from it. */
export interface GuestScan {
  readonly guest: GuestSnapshot;
  readonly format: PteFormat;
  /** By number. */
  readonly vmas: readonly NumberedVma[];
  /** By process, then by address. */
  readonly mappings: readonly UserMapping[];
  readonly software: SoftwareEntries;
  /** In order of frame number. */
  readonly pages: readonly Readonly<GuestPage>[];
  readonly solution: AnonSolution;
  readonly frames: Tally;
  /** Table entries that lead to no table of the core: they are taken for empty. */
  readonly lost: readonly LostTable[];
}

/** Layouts of kernels whose kpageflags have KPF_KSM on every anonymous page. */
const MARKS_ALL_KSM: ReadonlySet<string> = new Set(["linux-6.12"]);

/**
 * Reads a guest's tables, and finds for each page where it belongs: in its file, or in the address spaces that share it.
 *
 * Throws FormatError for a root that is not there.
 */
export function scanGuest(guest: GuestSnapshot): GuestScan {
  const memory = new PhysicalMemory(guest.memoryBytes);
  const lost = loadGuestTables(guest, memory);
  const mem_map = new MemMap(guest.memoryBytes / PAGE_SIZE);
  importFrames(mem_map, guest);
  const format = new PteFormat(pteLayout(guest.layout), swapTypesOf(guest.swapTypes));
  const vmas = flattenVmas(guest);
  const entries = collectEntries(guest, memory, format, vmas);
  const software = sortSoftware(format, entries.software);

  const pages = groupPages(
    guest.kpageflags,
    mem_map,
    entries.mappings,
    vmas,
    MARKS_ALL_KSM.has(guest.layout),
  );
  placeFilePages(mem_map, pages, vmas);
  const sets = new AnonSets(vmas.map(fileBase));
  joinAnonPages(pages, sets);
  joinSwapEntries(software.swap, sets);
  const solution = sets.solve(vmas.map(({ vma }) => vma.start));
  placeAnonPages(mem_map, pages, solution.base);

  const { mappings } = entries;
  return {
    guest,
    format,
    vmas,
    mappings,
    software,
    pages,
    solution,
    frames: tallyFrames(mappings, pages),
    lost,
  };
}
