import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { type ElfCore, loadInto, readElfCore } from "./elf-core.ts";
import type { PagingState } from "./elf-note.ts";
import { FormatError, quote } from "./format-error.ts";
import {
  type GuestManifest,
  type GuestSwapTypes,
  knownKernels,
  parseGuestManifest,
} from "./guest-manifest.ts";
import { isDirectory, readBounded, type SizeLimits } from "./gzip.ts";
import { type GuestVma, type MapsVma, readProcMaps, readProcMapsAlone } from "./proc-maps.ts";
import { type PagemapRun, readKpagecount, readKpageflags, readPagemap } from "./proc-pagemap.ts";
import { ReadBudget } from "./read-budget.ts";
import { checkRoot, clearLostTables, type LostTable, validateTables } from "./table-pages.ts";
import { readTar } from "./tar.ts";

export { validateTables } from "./table-pages.ts";

export const CORE_FILE = "pt.elf.gz";
const PROC_FILE = "proc.tar.gz";
export const MANIFEST_FILE = "manifest.json";

export const MANIFEST_LIMITS: SizeLimits = { input: 2 ** 22, output: 2 ** 22 };
export const PROC_LIMITS: SizeLimits = { input: 2 ** 28, output: 2 ** 28 };
/** What a core of a guest may hold beside the guest's memory: headers and notes. */
export const CORE_OVERHEAD = 2 ** 25;

/** One process of a guest: its root, its mappings, and what the guest's kernel said about each page. */
export interface GuestProcess {
  readonly name: string;
  readonly pid: number;
  /** Physical address of the root table; under page-table isolation the kernel's, which maps all there is. */
  readonly root: number;
  /** Root of the user half under page-table isolation, else null. */
  readonly userRoot: number | null;
  /** In address order, without [vsyscall]. */
  readonly vmas: readonly GuestVma[];
  /** One run per mapping, in the same order. */
  readonly pagemap: readonly PagemapRun[];
}

/** A frozen guest: all user page tables of a machine, and its kernel's own view of the same moment. */
export interface GuestSnapshot extends PagingState {
  readonly directory: string;
  readonly name: string;
  readonly kernelRelease: string;
  /** Name of the entry layout of that kernel (arch/x86/mm/entry-pteFormat.ts). */
  readonly layout: string;
  /** Page-table isolation: every process has two roots. */
  readonly pti: boolean;
  readonly memoryBytes: number;
  readonly swapTypes: GuestSwapTypes;
  readonly core: ElfCore;
  readonly processes: readonly GuestProcess[];
  /** Times each frame is mapped, by frame number; memoryBytes / 4096 long. */
  readonly kpagecount: Uint32Array;
  /** Low words of the flags (see KPF_FLAGS), as long. */
  readonly kpageflags: Uint32Array;
}

/**
 * Reads a guest directory: pt.elf.gz, proc.tar.gz and manifest.json; other files in it are not looked at. The
 * three are checked against each other. Memory is not allocated: {@link loadGuest} does that. Throws FormatError.
 */
export function readGuestDirectory(path: string, budget: ReadBudget = new ReadBudget()): GuestSnapshot {
  const manifestFile = join(path, MANIFEST_FILE);
  const manifest = parseGuestManifest(manifestFile, readBounded(manifestFile, MANIFEST_LIMITS, budget));
  const { layout, kernelRelease } = manifest;
  if (layout === null) {
    const known = knownKernels().join(", ");
    const found = `found ${quote(kernelRelease)}, whose entries dump and walk read all the same`;
    throw new FormatError(
      manifestFile,
      null,
      `kernel to be a release of a known kernel (${known}), ${found}`,
    );
  }
  const maxBytes = manifest.memoryBytes + CORE_OVERHEAD;
  const core = readElfCore(join(path, CORE_FILE), { maxBytes, budget });
  checkAgainstNote(manifestFile, manifest, core);

  const procFile = join(path, PROC_FILE);
  const members = readTar(procFile, readBounded(procFile, PROC_LIMITS, budget));
  const frames = manifest.memoryBytes / PAGE_SIZE;
  const counts = member(procFile, members, "pre/SYS.kpagecount");
  const flags = member(procFile, members, "pre/SYS.kpageflags");
  return {
    directory: path,
    name: manifest.name,
    kernelRelease,
    layout,
    levels: manifest.levels,
    pti: manifest.pti,
    memoryBytes: manifest.memoryBytes,
    cr0: manifest.cr0,
    cr4: manifest.cr4,
    efer: manifest.efer,
    swapTypes: manifest.swapTypes,
    core,
    processes: manifest.processes.map((process) => ({
      ...process,
      ...readProcess(procFile, members, process.name, manifest.levels),
    })),
    kpagecount: readKpagecount(counts.file, counts.bytes, frames),
    kpageflags: readKpageflags(flags.file, flags.bytes, frames),
  };
}

/**
 * The mappings of one process of a guest directory, [vsyscall] included; null when the directory has no record of them.
 * Throws FormatError.
 */
export function readGuestMaps(
  path: string,
  process: string,
  levels: 4 | 5,
  budget: ReadBudget = new ReadBudget(),
): MapsVma[] | null {
  const file = join(path, PROC_FILE);
  if (!existsSync(file)) return null;
  const name = `pre/${process}.maps`;
  const bytes = readTar(file, readBounded(file, PROC_LIMITS, budget)).get(name);
  return bytes === undefined ? null : readProcMapsAlone(`${file}:${name}`, bytes, levels);
}

/** The guest's memory with its tables in it, every table entry checked. Throws FormatError. */
export function loadGuest(guest: GuestSnapshot, budget: ReadBudget = new ReadBudget()): PhysicalMemory {
  const memory = new PhysicalMemory(guest.memoryBytes);
  loadInto(memory, guest.core);
  validateTables(guest.core, memory, guestRoots(guest), guest.levels, budget);
  return memory;
}

/**
 * The same without the check: table entries that lead to no table of the core are cleared, and returned. Throws
 * FormatError for a root that is not there.
 */
export function loadGuestTables(guest: GuestSnapshot, memory: PhysicalMemory): LostTable[] {
  loadInto(memory, guest.core);
  return clearLostTables(guest.core, memory, guestRoots(guest), guest.levels);
}

/** Every root of a guest, both of a process under page-table isolation. */
export function guestRoots(guest: GuestSnapshot): number[] {
  return guest.processes.flatMap(({ root, userRoot }) => (userRoot === null ? [root] : [root, userRoot]));
}

/**
 * The core that an IMAGE argument means: a file is a core itself, a directory is a guest's and stands for its
 * pt.elf.gz. Throws FormatError.
 */
export function imageFile(path: string, budget: ReadBudget = new ReadBudget()): ElfCore {
  return readElfCore(isDirectory(path) ? join(path, CORE_FILE) : path, { budget });
}

/** The manifest and the core were written by one capture: they must say the same. */
function checkAgainstNote(file: string, manifest: GuestManifest, core: ElfCore): void {
  const note = core.note;
  const noteName = `the PTIMAGE note of ${basename(core.file)}`;
  if (note !== null) {
    for (const field of ["cr0", "cr4", "efer", "levels"] as const) {
      if (note[field] !== manifest[field]) {
        throw new FormatError(file, null, `${field} to be 0x${note[field].toString(16)} as in ${noteName}`);
      }
    }
    for (const [name, cr3] of note.cr3) {
      if (manifest.cr3.get(name) !== cr3) {
        throw new FormatError(file, null, `procs.${name}.cr3 to be 0x${cr3.toString(16)} as in ${noteName}`);
      }
    }
    for (const name of manifest.cr3.keys()) {
      if (!note.cr3.has(name))
        throw new FormatError(core.file, null, `procs.${name} of the manifest in the note`);
    }
  }
  for (const { root, userRoot } of manifest.processes) {
    checkRoot(core, { size: manifest.memoryBytes }, root);
    if (userRoot !== null) checkRoot(core, { size: manifest.memoryBytes }, userRoot);
  }
}

function readProcess(
  procFile: string,
  members: ReadonlyMap<string, Uint8Array>,
  name: string,
  levels: 4 | 5,
): { vmas: GuestVma[]; pagemap: PagemapRun[] } {
  const maps = member(procFile, members, `pre/${name}.maps`);
  const smaps = member(procFile, members, `pre/${name}.smaps`);
  const pagemap = member(procFile, members, `pre/${name}.pagemap`);
  const vmas = readProcMaps(maps.file, maps.bytes, smaps.file, smaps.bytes, levels);
  return { vmas, pagemap: readPagemap(pagemap.file, pagemap.bytes, vmas) };
}

function member(
  procFile: string,
  members: ReadonlyMap<string, Uint8Array>,
  name: string,
): { file: string; bytes: Uint8Array } {
  const bytes = members.get(name);
  if (bytes === undefined) throw new FormatError(procFile, null, `a member ${name}`);
  return { file: `${procFile}:${name}`, bytes };
}
