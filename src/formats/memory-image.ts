import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { CpuRegisters } from "./cpu-note.ts";
import { directBuffer } from "./direct-buffer.ts";
import type { PtImageNote } from "./elf-note.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";

/** End of what an x86-64 physical address can say. */
export const MAX_PHYSICAL = 2 ** 52;

/** Bytes that are read at once by whoever reads all of an image, and those of one piece. */
const STEP_SIZE = 2 ** 20;
const PIECE_SIZE = 2 ** 16;

/** A run of physical memory: whole pages. */
export interface MemoryRange {
  /** Physical address of the first byte; page-aligned. */
  readonly physical: number;
  /** Bytes of memory. */
  readonly size: number;
}

/** One run of physical memory that a file holds. */
export interface MemorySegment extends MemoryRange {
  readonly fileOffset: number;
  /** Bytes of the file; memory behind them, up to `size`, is zero. */
  readonly fileSize: number;
}

/** A file of segments. */
export interface SegmentedFile {
  readonly file: string;
  /** In order of physical address, without overlap. */
  readonly segments: readonly MemorySegment[];
}

/** What a dump says about the machine beside its memory. */
export interface ImageNotes {
  /** Control registers and processes of our reduced cores, else null. */
  readonly note: PtImageNote | null;
  /** Control registers of each logical CPU, as QEMU writes them; empty when the file does not say. */
  readonly cpus: readonly CpuRegisters[];
  /** The dump says that its CPUs were in 32-bit mode. */
  readonly legacyMode: boolean;
}

/** A machine's physical memory in a file, whatever the format. Pages stay there until somebody asks for one. */
export interface MemoryImage extends ImageNotes {
  readonly file: string;
  /** The format's name, for titles. */
  readonly format: string;
  /** End of the highest page that the file holds. */
  readonly memoryTop: number;
  /** What the file holds, in order of physical address, without overlap. */
  ranges(): Iterable<MemoryRange>;
  /**
   * All of it, in pieces of whole pages, without those that are nothing but zero. A piece's bytes are good until the next one
   * is asked for. `passed` hears of how many bytes were looked at, zero or not. Throws FormatError.
   */
  pieces(passed?: (bytes: number) => void): Iterable<MemoryPiece>;
  /** Whether the file holds the page at a physical address. */
  holds(page: number): boolean;
  /** The 4096 bytes of that page, read now; null when the file does not hold it. Throws FormatError. */
  readPage(page: number): Uint8Array | null;
}

/** Some pages of a machine's memory. */
export interface MemoryPiece {
  /** Physical address of the first byte. */
  readonly physical: number;
  readonly bytes: Uint8Array;
}

/** Of a file that says nothing. */
export const NO_NOTES: ImageNotes = { note: null, cpus: [], legacyMode: false };

/** The segment that a physical address lies in. */
export function segmentAt(
  image: Pick<SegmentedFile, "segments">,
  physical: number,
): MemorySegment | undefined {
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
export function fileOffsetAt(image: Pick<SegmentedFile, "segments">, physical: number): number | null {
  const segment = segmentAt(image, physical);
  if (segment === undefined || physical - segment.physical >= segment.fileSize) return null;
  return segment.fileOffset + physical - segment.physical;
}

/** Sorts segments by physical address. Throws FormatError when two overlap; `where` gives the file offset that says so. */
export function sortSegments(
  file: string,
  segments: readonly MemorySegment[],
  where: (segment: MemorySegment) => number | null,
): MemorySegment[] {
  const sorted = [...segments].sort((a, b) => a.physical - b.physical);
  let end = 0;
  for (const segment of sorted) {
    if (segment.physical < end) {
      const place = `0x${segment.physical.toString(16)}`;
      const found = `found a second one that has physical ${place}`;
      throw new FormatError(file, where(segment), `ranges that do not overlap, ${found}`);
    }
    end = segment.physical + segment.size;
  }
  return sorted;
}

/** The whole pages of a run of memory that may begin and end anywhere; null when there is none. */
export function wholePages(
  physical: number,
  size: number,
  fileOffset: number,
  fileSize = size,
): MemorySegment | null {
  const first = Math.ceil(physical / PAGE_SIZE) * PAGE_SIZE;
  const end = Math.floor((physical + size) / PAGE_SIZE) * PAGE_SIZE;
  if (end <= first) return null;
  const skipped = first - physical;
  const inFile = Math.min(end - first, Math.max(0, fileSize - skipped));
  return { physical: first, size: end - first, fileOffset: fileOffset + skipped, fileSize: inFile };
}

/** Of whole pages. */
function isZero(bytes: Uint8Array): boolean {
  if (bytes.byteOffset % 4 !== 0) return bytes.every((byte) => byte === 0);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let i = 0; i < words.length; i += 4) {
    if ((words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!) !== 0) return false;
  }
  return true;
}

/**
 * An image whose pages lie plainly in its file, in segments: a dump of a large machine costs as much memory as what is
 * looked at in it. Close it.
 */
export class PagedImage implements MemoryImage, SegmentedFile {
  readonly file: string;
  readonly format: string;
  readonly segments: readonly MemorySegment[];
  readonly note: PtImageNote | null;
  readonly cpus: readonly CpuRegisters[];
  readonly legacyMode: boolean;
  readonly memoryTop: number;
  readonly #bytes: FileBytes;

  /** The segments stand in order and do not overlap. */
  constructor(
    file: string,
    format: string,
    bytes: FileBytes,
    segments: readonly MemorySegment[],
    notes: ImageNotes = NO_NOTES,
  ) {
    this.file = file;
    this.format = format;
    this.#bytes = bytes;
    this.segments = segments;
    this.note = notes.note;
    this.cpus = notes.cpus;
    this.legacyMode = notes.legacyMode;
    const last = segments.at(-1);
    this.memoryTop = last === undefined ? 0 : last.physical + last.size;
  }

  ranges(): Iterable<MemoryRange> {
    return this.segments;
  }

  /** The holes of a sparse file are read like all else, node cannot ask where they are: into one buffer, then. */
  *pieces(passed: (bytes: number) => void = () => {}): Generator<MemoryPiece> {
    const buffer = directBuffer(STEP_SIZE);
    let seen = 0;
    for (const { physical, fileOffset, fileSize } of this.segments) {
      const whole = fileSize - (fileSize % PAGE_SIZE);
      for (let at = 0; at < whole; at += STEP_SIZE) {
        const length = Math.min(STEP_SIZE, whole - at);
        const step = this.#bytes.read(fileOffset + at, length, "memory", buffer);
        for (let piece = 0; piece < length; piece += PIECE_SIZE) {
          const bytes = step.subarray(piece, piece + PIECE_SIZE);
          if (!isZero(bytes)) yield { physical: physical + at + piece, bytes };
        }
        seen += length;
        passed(seen);
      }
    }
  }

  holds(page: number): boolean {
    return segmentAt(this, page) !== undefined;
  }

  readPage(page: number): Uint8Array | null {
    const segment = segmentAt(this, page);
    if (segment === undefined) return null;
    const at = page - segment.physical;
    const inFile = Math.min(PAGE_SIZE, segment.fileSize - at);
    if (inFile <= 0) return new Uint8Array(PAGE_SIZE);
    const bytes = this.#bytes.read(segment.fileOffset + at, inFile, "a page of memory");
    if (inFile === PAGE_SIZE) return bytes;
    const page4K = new Uint8Array(PAGE_SIZE);
    page4K.set(bytes);
    return page4K;
  }

  close(): void {
    this.#bytes.close();
  }
}
