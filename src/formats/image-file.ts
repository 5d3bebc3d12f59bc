import { MAX_CORE_BYTES } from "./elf-core.ts";
import { readElfImage } from "./elf-image.ts";
import { type FileBytes, openFileBytes } from "./file-bytes.ts";
import { FLATTENED_MAGIC, unflatten } from "./flattened.ts";
import { FOREIGN_BYTES, foreignFormatOf } from "./foreign-formats.ts";
import { FormatError } from "./format-error.ts";
import { KDUMP_MAGIC, readKdumpImage } from "./kdump.ts";
import { readLimeImage } from "./lime.ts";
import type { MemoryImage } from "./memory-image.ts";
import { type RawPiece, readRawImage } from "./raw.ts";
import { ReadBudget } from "./read-budget.ts";

/** What a file can be taken for; auto tells by its first bytes. */
export const IMAGE_FORMATS = ["auto", "elf", "kdump", "lime", "raw"] as const;
/** Name of a format of images. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** First bytes of the formats that have some, as text. */
const MAGICS = [
  { format: "elf", magic: "\x7fELF" },
  { format: "kdump", magic: KDUMP_MAGIC },
  { format: "lime", magic: "EMiL" },
] as const;

const LONGEST_MAGIC = Math.max(...MAGICS.map(({ magic }) => magic.length));

/** An image that is open. */
export interface OpenImage {
  readonly image: MemoryImage;
  /** Lets go of the file. */
  close(): void;
}

/**
 * Opens a plain or gzip file as an image of physical memory. `auto` knows formats by their magic and takes everything
 * else for a raw image, except what is plainly some other kind of file. `pieces` say where a raw image has which memory.
 * Throws FormatError.
 */
export function openImageFile(
  file: string,
  format: ImageFormat = "auto",
  budget: ReadBudget = new ReadBudget(),
  pieces: readonly RawPiece[] = [],
): OpenImage {
  let bytes = openFileBytes(file, MAX_CORE_BYTES, budget);
  let open = false;
  try {
    if (format !== "raw" && startOf(bytes, FLATTENED_MAGIC.length) === FLATTENED_MAGIC) {
      bytes = unflatten(file, bytes);
    }
    const chosen = format === "auto" ? formatOf(file, bytes) : format;
    if (pieces.length > 0 && chosen !== "raw") {
      throw new FormatError(
        file,
        null,
        `a raw image, as only they have holes that are mapped; found ${chosen}`,
      );
    }
    const image = readImage(file, bytes, chosen, pieces);
    open = true;
    const opened = bytes;
    return { image, close: () => opened.close() };
  } finally {
    if (!open) bytes.close();
  }
}

function readImage(
  file: string,
  bytes: FileBytes,
  format: Exclude<ImageFormat, "auto">,
  pieces: readonly RawPiece[],
): MemoryImage {
  switch (format) {
    case "elf":
      return readElfImage(file, bytes);
    case "kdump":
      return readKdumpImage(file, bytes);
    case "lime":
      return readLimeImage(file, bytes);
    case "raw":
      return readRawImage(file, bytes, pieces);
  }
}

function formatOf(file: string, bytes: FileBytes): Exclude<ImageFormat, "auto"> {
  const start = bytes.read(0, Math.min(FOREIGN_BYTES, bytes.size), "its first bytes");
  const text = startOf(bytes, LONGEST_MAGIC);
  const known = MAGICS.find(({ magic }) => text.startsWith(magic));
  if (known !== undefined) return known.format;
  const foreign = foreignFormatOf(start);
  if (foreign === null) return "raw";
  throw new FormatError(file, 0, `an image of memory, found ${foreign} (--format raw reads it all the same)`);
}

/** The first bytes as text, fewer where the file ends. */
function startOf(bytes: FileBytes, length: number): string {
  return Buffer.from(bytes.read(0, Math.min(length, bytes.size), "its first bytes")).toString("latin1");
}
