import { MAX_CORE_BYTES } from "./elf-core.ts";
import { readElfImage } from "./elf-image.ts";
import { type FileBytes, openFileBytes } from "./file-bytes.ts";
import { FOREIGN_BYTES, foreignFormatOf } from "./foreign-formats.ts";
import { FormatError } from "./format-error.ts";
import { readLimeImage } from "./lime.ts";
import type { MemoryImage } from "./memory-image.ts";
import { type RawPiece, readRawImage } from "./raw.ts";
import { ReadBudget } from "./read-budget.ts";

/** What a file can be taken for; auto tells by its first bytes. */
export const IMAGE_FORMATS = ["auto", "elf", "lime", "raw"] as const;
/** Name of a format of images. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** First bytes of the formats that have some, as text. */
const MAGICS = [
  { format: "elf", magic: "\x7fELF" },
  { format: "lime", magic: "EMiL" },
] as const;

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
  const bytes = openFileBytes(file, MAX_CORE_BYTES, budget);
  let open = false;
  try {
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
    return { image, close: () => bytes.close() };
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
    case "lime":
      return readLimeImage(file, bytes);
    case "raw":
      return readRawImage(file, bytes, pieces);
  }
}

function formatOf(file: string, bytes: FileBytes): Exclude<ImageFormat, "auto"> {
  const start = bytes.read(0, Math.min(FOREIGN_BYTES, bytes.size), "its first bytes");
  const text = Buffer.from(start.subarray(0, 16)).toString("latin1");
  const known = MAGICS.find(({ magic }) => text.startsWith(magic));
  if (known !== undefined) return known.format;
  const foreign = foreignFormatOf(start);
  if (foreign === null) return "raw";
  throw new FormatError(file, 0, `an image of memory, found ${foreign} (--format raw reads it all the same)`);
}
