import { join } from "node:path";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { quote } from "../formats/format-error.ts";
import { type GuestManifest, parseGuestManifest } from "../formats/guest-manifest.ts";
import { CORE_FILE, MANIFEST_FILE, MANIFEST_LIMITS } from "../formats/guest-snapshot.ts";
import { isDirectory, readBounded } from "../formats/gzip.ts";
import { IMAGE_FORMATS, type ImageFormat, openImageFile } from "../formats/image-file.ts";
import { ImageMemory } from "../formats/image-memory.ts";
import type { MemoryImage } from "../formats/memory-image.ts";
import { ReadBudget } from "../formats/read-budget.ts";
import { linuxPteFormat } from "../inspect/linux-reading.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";
import { parsePiece } from "./options.ts";
import { snapshotPath } from "./sample.ts";

/** What --kernel means when neither the person nor a manifest says. */
export const DEFAULT_LAYOUT = "linux-6.1";

/** The options that say what a file is. */
export const FILE_OPTIONS = {
  format: {
    value: "F",
    help: `what IMAGE is: ${IMAGE_FORMATS.join(", ")} (default auto: by its first bytes, else raw)`,
  },
  map: {
    value: "A-B@OFFSET",
    help: "raw: memory from A to below B stands at OFFSET in the file; give one for each piece",
    repeats: true,
  },
} as const satisfies Record<string, OptionSpec>;

/** What an IMAGE argument may be, for the help. */
export const IMAGE_NOTE = [
  'IMAGE is a guest directory (or "sample", the guest that ships with ptescope), an ELF core, a kdump or LiME file or a',
  "raw image of memory from address 0, plain or gzip.",
] as const;

/** A memory image, and what it says about the machine it was taken from. */
export interface Image {
  /** As the command line names it. */
  readonly path: string;
  /** The guest directory, or null for a file. */
  readonly directory: string | null;
  readonly core: MemoryImage;
  /** Its tables, read where they lie. */
  readonly memory: ImageMemory;
  /** Of a guest directory, else null. */
  readonly manifest: GuestManifest | null;
}

/**
 * Opens the image that a command line names, hands it to `use`, and closes it again. `budget` is what may be
 * read. Throws FormatError, and UsageError for a format that does not exist.
 */
export async function withImage<T>(
  path: string,
  parsed: ParsedArguments,
  use: (image: Image) => Promise<T>,
  budget: ReadBudget = new ReadBudget(),
): Promise<T> {
  const format = parsed.choice<ImageFormat>("format", IMAGE_FORMATS);
  const pieces = parsed.all("map").map(parsePiece);
  const place = snapshotPath(path);
  const guest = isDirectory(place);
  if (guest && ((format !== "auto" && format !== "elf") || pieces.length > 0)) {
    const option = pieces.length > 0 ? "map" : `format ${format}`;
    throw new UsageError(`--${option}: ${quote(path)} is a guest directory, which has an ELF core`);
  }
  const manifest = guest ? readManifest(place, budget) : null;
  const { image: core, close } = openImageFile(
    guest ? join(place, CORE_FILE) : place,
    guest ? "elf" : format,
    budget,
    pieces,
  );
  try {
    return await use({
      path,
      directory: guest ? place : null,
      core,
      memory: new ImageMemory(core),
      manifest,
    });
  } finally {
    close();
  }
}

function readManifest(path: string, budget: ReadBudget): GuestManifest {
  const file = join(path, MANIFEST_FILE);
  return parseGuestManifest(file, readBounded(file, MANIFEST_LIMITS, budget));
}

/** The pteFormat of --kernel, or of the guest's own kernel. Throws RangeError that lists the layouts. */
export function pteFormatOf(image: Image | null, parsed: ParsedArguments): PteFormat {
  return knownPteFormat(image, parsed) ?? linuxPteFormat(DEFAULT_LAYOUT, null);
}

/** The same; null when neither the person nor a manifest says. */
export function knownPteFormat(image: Image | null, parsed: ParsedArguments): PteFormat | null {
  const manifest = image?.manifest ?? null;
  const layout = parsed.text("kernel") ?? manifest?.layout ?? null;
  if (layout === null) return null;
  return linuxPteFormat(layout, manifest !== null && manifest.layout === layout ? manifest.swapTypes : null);
}
