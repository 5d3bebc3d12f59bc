import { join } from "node:path";
import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { type ControlRegisters, controlFromRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { type CpuModel, cpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { FormatError, quote } from "../formats/format-error.ts";
import { type GuestManifest, MAX_GUEST_BYTES, parseGuestManifest } from "../formats/guest-manifest.ts";
import { imageFile, MANIFEST_LIMITS } from "../formats/guest-snapshot.ts";
import { isDirectory, readBounded } from "../formats/gzip.ts";
import {
  IMAGE_FORMATS,
  type ImageFormat,
  type OpenImage,
  openCore,
  openImageFile,
} from "../formats/image-file.ts";
import { type MemoryImage, segmentAt } from "../formats/memory-image.ts";
import { ReadBudget } from "../formats/read-budget.ts";
import { linuxPteFormat } from "../inspect/linux-reading.ts";
import type { WalkSource } from "../inspect/walk-report.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";
import { parseRoot } from "./options.ts";

/** Names that a message lists before it says how many more there are. */
const MAX_LISTED = 60;
/** What --kernel means when neither the person nor a manifest says. */
export const DEFAULT_LAYOUT = "linux-6.1";
/** The widest CPU: a bit that is reserved here is reserved everywhere. */
export const DEFAULT_CPU = "intel-sapphire-rapids";

/** CR0, CR4 and EFER of an image that does not say: long mode as every kernel sets it up, write protection and XD. */
const USUAL_REGISTERS = { cr0: 0x8001_0033, cr4: 0xa0, efer: 0xd01 };
const CR4_LA57 = 0x1000;

/** The options that choose an address space; commands that take an IMAGE have them in their tables. */
export const SPACE_OPTIONS = {
  cr3: { value: "X", help: "the root table's physical address, or the CR3 that holds it" },
  process: {
    value: "NAME",
    help: "the root of this process; with page-table isolation NAME.k is the kernel's",
  },
  levels: { value: "4|5", help: "levels of the tables, for images that do not say (default 4)" },
  format: { value: "F", help: "what IMAGE is: auto (default: by its first bytes, else raw), elf, lime, raw" },
} as const satisfies Record<string, OptionSpec>;

/** The options that choose a CPU. */
export const MODEL_OPTIONS = {
  cpu: { value: "MODEL", help: `whose rules judge reserved bits (default ${DEFAULT_CPU}, the widest)` },
  maxphyaddr: { value: "N", help: "with physical addresses of N bits, 36 to 52, instead of the model's own" },
} as const satisfies Record<string, OptionSpec>;

/** What an IMAGE argument may be, for the help. */
export const IMAGE_NOTE =
  "IMAGE is a guest directory, an ELF core, a LiME file or a raw image of memory from address 0, plain or gzip.";

/** A memory image, and what it says about the machine it was taken from. */
export interface Image {
  readonly path: string;
  readonly core: MemoryImage;
  /**
   * As large as the image's segments need; zero between them. Of an image that stays in its file only the pages that
   * were asked for are there, see MemoryImage.
   */
  readonly memory: PhysicalMemory;
  /** Of a guest directory, else null. */
  readonly manifest: GuestManifest | null;
}

/** One address space of an image. */
export interface AddressSpace {
  readonly root: number;
  readonly levels: 4 | 5;
  /** For titles: the process's name, or "CR3 0x...". */
  readonly name: string;
}

/**
 * Opens the image that a command line names, hands it to `use`, and closes it again. Throws FormatError, and UsageError
 * for a format that does not exist.
 */
export async function withImage<T>(
  path: string,
  parsed: ParsedArguments,
  use: (image: Image) => Promise<T>,
): Promise<T> {
  const format = parsed.choice<ImageFormat>("format", IMAGE_FORMATS);
  const budget = new ReadBudget();
  const guest = isDirectory(path);
  if (guest && format !== "auto" && format !== "elf") {
    throw new UsageError(`--format ${format}: ${quote(path)} is a guest directory, which has an ELF core`);
  }
  const opened = guest ? openCore(imageFile(path, budget)) : openImageFile(path, format, budget);
  try {
    return await use(prepare(path, opened, guest ? readManifest(path, budget) : null));
  } finally {
    opened.close();
  }
}

function prepare(path: string, opened: OpenImage, manifest: GuestManifest | null): Image {
  const core = opened.image;
  if (core.memoryTop > MAX_GUEST_BYTES) {
    const found = `found some up to 0x${core.memoryTop.toString(16)}`;
    throw new FormatError(core.file, null, `memory below 0x${MAX_GUEST_BYTES.toString(16)}, ${found}`);
  }
  const memory = new PhysicalMemory(Math.max(PAGE_SIZE, core.memoryTop));
  opened.fill(memory);
  return { path, core, memory, manifest };
}

function readManifest(path: string, budget: ReadBudget): GuestManifest {
  const file = join(path, "manifest.json");
  return parseGuestManifest(file, readBounded(file, MANIFEST_LIMITS, budget));
}

/** The address space that --cr3 or --process chooses. Throws UsageError that lists the processes. */
export function chooseSpace(image: Image, parsed: ParsedArguments): AddressSpace {
  const cr3 = parsed.text("cr3");
  const process = parsed.text("process");
  const levels = levelsOf(image, parsed);
  if (cr3 !== undefined && process !== undefined) {
    throw new UsageError("--cr3 and --process both choose the root: give one of them");
  }
  if (cr3 !== undefined) {
    const root = parseRoot(cr3);
    return { root, levels, name: `CR3 0x${root.toString(16)}` };
  }
  const roots = rootsOf(image);
  if (process === undefined) {
    throw new UsageError(`give --cr3 X or --process NAME; ${processList(image, roots)}`);
  }
  const value = roots.get(process);
  if (value === undefined) {
    throw new UsageError(`no process ${quote(process)}: ${processList(image, roots)}`);
  }
  return { root: value - (value % PAGE_SIZE), levels, name: process };
}

/** The control state of the machine: from the image, or as kernels usually set it. Throws RangeError. */
export function controlOf(image: Image, space: AddressSpace, model: CpuModel): ControlRegisters {
  const state = image.core.note ?? image.manifest;
  const usual = { ...USUAL_REGISTERS, cr4: USUAL_REGISTERS.cr4 + (space.levels === 5 ? CR4_LA57 : 0) };
  const { cr0, cr4, efer } = state ?? usual;
  if (space.root >= 2 ** model.maxPhyAddr) {
    const width = `MAXPHYADDR ${model.maxPhyAddr} of ${model.name}`;
    throw new RangeError(`root 0x${space.root.toString(16)}: it does not fit ${width}`);
  }
  return controlFromRegisters(model, {
    cr0: BigInt(cr0),
    cr3: BigInt(space.root),
    cr4: BigInt(cr4),
    efer: BigInt(efer),
  });
}

/** What a walk of this image reads. */
export function walkSource(image: Image, control: ControlRegisters, pteFormat: PteFormat): WalkSource {
  const { memory, core } = image;
  return {
    memory,
    control,
    pteFormat,
    holds: (page) => segmentAt(core, page) !== undefined,
    load: (page) => core.loadPage?.(memory, page),
  };
}

/** The pteFormat of --kernel, or of the guest's own kernel. Throws RangeError that lists the layouts. */
export function pteFormatOf(image: Image | null, parsed: ParsedArguments): PteFormat {
  const chosen = parsed.text("kernel");
  const manifest = image?.manifest ?? null;
  const layout = chosen ?? manifest?.layout ?? DEFAULT_LAYOUT;
  return linuxPteFormat(layout, manifest !== null && manifest.layout === layout ? manifest.swapTypes : null);
}

/** The CPU of --cpu and --maxphyaddr. Throws RangeError that lists the models, and UsageError. */
export function modelOf(parsed: ParsedArguments): CpuModel {
  const model = cpuModel(parsed.text("cpu") ?? DEFAULT_CPU);
  const width = parsed.text("maxphyaddr");
  if (width === undefined) return model;
  const maxPhyAddr = /^\d{2}$/.test(width) ? Number(width) : 0;
  if (maxPhyAddr < 36 || maxPhyAddr > 52) {
    throw new UsageError(`--maxphyaddr ${quote(width)}: give a number of bits from 36 to 52`);
  }
  return { ...model, name: `${model.name} with MAXPHYADDR ${maxPhyAddr}`, maxPhyAddr };
}

function levelsOf(image: Image, parsed: ParsedArguments): 4 | 5 {
  const said = (image.core.note ?? image.manifest)?.levels;
  const asked = parsed.text("levels");
  if (asked !== undefined && asked !== "4" && asked !== "5") {
    throw new UsageError(`--levels ${quote(asked)}: give 4 or 5`);
  }
  if (said !== undefined && asked !== undefined && Number(asked) !== said) {
    throw new UsageError(`--levels ${asked}: the image says that its tables have ${said}`);
  }
  return said ?? (asked === "5" ? 5 : 4);
}

/** CR3 by the name of the process, as far as the image knows. */
function rootsOf(image: Image): ReadonlyMap<string, number> {
  return image.core.note?.cr3 ?? image.manifest?.cr3 ?? new Map();
}

function processList(image: Image, roots: ReadonlyMap<string, number>): string {
  const names = [...roots.keys()];
  if (names.length === 0) return `${image.path} does not name processes, use --cr3`;
  // NAME.k stands for the same process as NAME.
  const listed = names.filter((name) => !(name.endsWith(".k") && roots.has(name.slice(0, -2))));
  const isolated = listed.length < names.length ? " (each also as NAME.k, the kernel's root)" : "";
  const shown = listed.slice(0, MAX_LISTED).join(", ");
  const more = listed.length > MAX_LISTED ? ` and ${listed.length - MAX_LISTED} more` : "";
  return `there are ${shown}${more}${isolated}`;
}
