import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { PtImageNote } from "./elf-note.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";

/** End of what an x86-64 physical address can say. */
export const MAX_PHYSICAL = 2 ** 52;

/** One run of physical memory that a file holds. */
export interface MemorySegment {
  /** Physical address of the first byte; page-aligned. */
  readonly physical: number;
  /** Bytes of memory it stands for: whole pages. */
  readonly size: number;
  readonly fileOffset: number;
  /** Bytes of the file; memory behind them, up to `size`, is zero. */
  readonly fileSize: number;
}

/** A machine's physical memory in a file, whatever the format. */
export interface MemoryImage {
  readonly file: string;
  /** In order of physical address, without overlap. */
  readonly segments: readonly MemorySegment[];
  /** Control registers and processes, if the format has a place for them and the file has them. */
  readonly note: PtImageNote | null;
  /** End of the highest segment: a memory of this size holds all of them. */
  readonly memoryTop: number;
  /**
   * Copies the page at a physical address into memory, unless that was done before or the file does not hold it.
   * Images without this function are copied whole before they are used.
   */
  readonly loadPage?: (memory: PhysicalMemory, page: number) => void;
}

/** The segment that a physical address lies in. */
export function segmentAt(image: Pick<MemoryImage, "segments">, physical: number): MemorySegment | undefined {
  let low = 0;
  let high = image.segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const segment = image.segments[middle]!;
    if (physical < segment.physical) high = middle;
    else if (physical >= segment.physical + segment.size) low = middle + 1;
    else return segment;
  }
  return undefined;
}

/** Where a physical address stands in the file, or null when the file does not hold it. */
export function fileOffsetAt(image: Pick<MemoryImage, "segments">, physical: number): number | null {
  const segment = segmentAt(image, physical);
  if (segment === undefined || physical - segment.physical >= segment.fileSize) return null;
  return segment.fileOffset + physical - segment.physical;
}

/**
 * An image that stays in its file: pages are read when somebody needs them, so that a dump of a large machine costs
 * as much memory as its page tables. One object serves one memory. Close it.
 */
export class PagedImage implements MemoryImage {
  readonly file: string;
  readonly segments: readonly MemorySegment[];
  readonly note = null;
  readonly memoryTop: number;
  readonly #bytes: FileBytes;
  readonly #loaded = new Set<number>();

  /** Sorts the segments. Throws FormatError when two overlap; `where` gives the file offset that says so. */
  constructor(
    file: string,
    bytes: FileBytes,
    segments: readonly MemorySegment[],
    where: (segment: MemorySegment) => number | null,
  ) {
    this.file = file;
    this.#bytes = bytes;
    this.segments = [...segments].sort((a, b) => a.physical - b.physical);
    let end = 0;
    for (const segment of this.segments) {
      if (segment.physical < end) {
        const place = `0x${segment.physical.toString(16)}`;
        throw new FormatError(
          file,
          where(segment),
          `ranges that do not overlap, found a second one that has physical ${place}`,
        );
      }
      end = segment.physical + segment.size;
    }
    this.memoryTop = end;
  }

  loadPage(memory: PhysicalMemory, page: number): void {
    if (this.#loaded.has(page)) return;
    const offset = fileOffsetAt(this, page);
    if (offset === null) return;
    this.#loaded.add(page);
    memory.bytesAt(page, PAGE_SIZE).set(this.#bytes.read(offset, PAGE_SIZE, "a page of memory"));
  }

  close(): void {
    this.#bytes.close();
  }
}
