import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { type ElfCore, loadInto, MAX_CORE_BYTES, parseElfCore } from "./elf-core.ts";
import { type FileBytes, openFileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { readLimeImage } from "./lime.ts";
import type { MemoryImage } from "./memory-image.ts";
import { readRawImage } from "./raw.ts";
import { ReadBudget } from "./read-budget.ts";

/** What a file can be taken for; auto tells by its first bytes. */
export const IMAGE_FORMATS = ["auto", "elf", "lime", "raw"] as const;
/** Name of a format of images. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** First bytes of the two formats that have some, as text. */
const MAGICS = [
  { format: "elf", magic: "\x7fELF" },
  { format: "lime", magic: "EMiL" },
] as const;

/** Dumps that would pass for raw images: memory is in them, but not at the offset of its address. */
const UNREADABLE = [
  { magic: "KDUMP   ", name: "a compressed kdump file (makedumpfile or dump-guest-memory -z, -l, -s)" },
  { magic: "makedumpfile", name: "a flattened makedumpfile" },
  { magic: "PAGEDU64", name: "a Windows crash dump" },
  { magic: "AVML", name: "a compressed AVML file" },
  { magic: "LiME", name: "a big-endian LiME file" },
  { magic: "QFI\xfb", name: "a qcow2 disk" },
] as const;
const LONGEST_MAGIC = Math.max(...UNREADABLE.map(({ magic }) => magic.length));

/** An image that is open. */
export interface OpenImage {
  readonly image: MemoryImage;
  /** Copies into memory what is not loaded page by page. Throws FormatError. */
  fill(memory: PhysicalMemory): void;
  /** Lets go of the file. */
  close(): void;
}

/**
 * Opens a plain or gzip file as an image of physical memory. `auto` knows ELF and LiME by their magic and takes
 * everything else for a raw image, except dumps of other tools that it knows it cannot read. Throws FormatError.
 */
export function openImageFile(
  file: string,
  format: ImageFormat = "auto",
  budget: ReadBudget = new ReadBudget(),
): OpenImage {
  const bytes = openFileBytes(file, MAX_CORE_BYTES, budget);
  let open = false;
  try {
    const chosen = format === "auto" ? formatOf(file, bytes) : format;
    if (chosen === "elf") return openCore(parseElfCore(file, bytes, MAX_CORE_BYTES));
    const image = chosen === "lime" ? readLimeImage(file, bytes) : readRawImage(file, bytes);
    open = true;
    return { image, fill: () => {}, close: () => bytes.close() };
  } finally {
    if (!open) bytes.close();
  }
}

/** A core, which is in memory already. */
export function openCore(core: ElfCore): OpenImage {
  return { image: core, fill: (memory) => loadInto(memory, core), close: () => {} };
}

function formatOf(file: string, bytes: FileBytes): Exclude<ImageFormat, "auto"> {
  const start = Buffer.from(bytes.read(0, Math.min(LONGEST_MAGIC, bytes.size), "its first bytes"));
  const text = start.toString("latin1");
  const known = MAGICS.find(({ magic }) => text.startsWith(magic));
  if (known !== undefined) return known.format;
  const unreadable = UNREADABLE.find(({ magic }) => text.startsWith(magic));
  if (unreadable === undefined) return "raw";
  throw new FormatError(file, 0, `an ELF core, a LiME file or a raw image, found ${unreadable.name}`);
}
