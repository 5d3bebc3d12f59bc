import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { type ProgramHeader, PT_LOAD, readElfHeaders, readNoteSegments } from "./elf-header.ts";
import { type PtImageNote, readPtImageNote } from "./elf-note.ts";
import { type FileBytes, openFileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { MAX_PHYSICAL, type MemorySegment, type SegmentedFile } from "./memory-image.ts";
import { ReadBudget } from "./read-budget.ts";

/** Most bytes of physical memory in one core: the segments of an ordinary machine, held in memory at once. */
export const MAX_CORE_BYTES = 2 ** 32;
/** A segment with its bytes. */
export interface ElfSegment extends MemorySegment {
  readonly bytes: Uint8Array;
}

/** A core read whole, as those of guest directories are. Its note is null unless it is one of our reduced ones. */
export interface ElfCore extends SegmentedFile {
  readonly segments: readonly ElfSegment[];
  readonly note: PtImageNote | null;
  /** End of the highest segment: a memory of this size holds all of them. */
  readonly memoryTop: number;
}

/** Bounds for {@link readElfCore}. */
export interface ElfCoreOptions {
  /** Most bytes of memory in the core, and of a gzip file's content. */
  readonly maxBytes?: number;
  readonly budget?: ReadBudget;
}

/** Reads a plain or gzip ELF64 core of an x86-64 machine's physical memory. Throws FormatError. */
export function readElfCore(file: string, options: ElfCoreOptions = {}): ElfCore {
  const budget = options.budget ?? new ReadBudget();
  const maxBytes = Math.min(options.maxBytes ?? MAX_CORE_BYTES, MAX_CORE_BYTES);
  const bytes = openFileBytes(file, maxBytes, budget);
  try {
    return parseElfCore(file, bytes, maxBytes);
  } finally {
    bytes.close();
  }
}

/** Copies the segments into memory. Throws FormatError when one lies beyond its end. */
export function loadInto(memory: PhysicalMemory, core: ElfCore): void {
  for (const segment of core.segments) {
    const end = segment.physical + segment.size;
    if (end > memory.size) {
      const range = `0x${segment.physical.toString(16)}..0x${end.toString(16)}`;
      throw new FormatError(
        core.file,
        segment.fileOffset,
        `segments inside the memory of 0x${memory.size.toString(16)} bytes, found one at ${range}`,
      );
    }
    memory.bytesAt(segment.physical, segment.bytes.length).set(segment.bytes);
    memory.clear(segment.physical + segment.bytes.length, segment.size - segment.bytes.length);
  }
}

/** Reads a core from a file's content; at most `maxBytes` of memory. Throws FormatError. */
export function parseElfCore(file: string, source: FileBytes, maxBytes: number): ElfCore {
  const { programs } = readElfHeaders(file, source, true);
  let note: PtImageNote | null = null;
  for (const { header, bytes } of readNoteSegments(file, source, programs)) {
    const found = readPtImageNote(file, bytes, header.fileOffset);
    if (found !== null && note !== null) throw new FormatError(file, header.at, "one PTIMAGE note");
    note = found ?? note;
  }
  const loads = programs.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  checkLoads(file, source.size, loads, maxBytes, note !== null);
  const segments = loads.map((header) => ({
    physical: header.physical,
    size: header.memorySize,
    bytes: source.read(header.fileOffset, header.fileSize, "a PT_LOAD segment"),
    fileOffset: header.fileOffset,
    fileSize: header.fileSize,
  }));
  const last = segments.at(-1);
  return { file, segments, note, memoryTop: last === undefined ? 0 : last.physical + last.size };
}

/**
 * Sorts the PT_LOAD headers by physical address and checks them. The bytes of all segments may not be more
 * than the file has: otherwise a small file whose headers share one range could claim to be a large one.
 */
function checkLoads(
  file: string,
  fileSize: number,
  loads: ProgramHeader[],
  maxBytes: number,
  reduced: boolean,
): void {
  let inFile = 0;
  let inMemory = 0;
  for (const load of loads) {
    inFile += load.fileSize;
    inMemory += load.memorySize;
    if (load.fileSize > load.memorySize) {
      throw new FormatError(file, load.at + 32, `p_filesz of at most p_memsz (${load.memorySize})`);
    }
    if (load.physical % PAGE_SIZE !== 0 || load.physical + load.memorySize > MAX_PHYSICAL) {
      throw new FormatError(file, load.at + 24, "a page-aligned p_paddr and an end below 2^52");
    }
    if (load.memorySize % PAGE_SIZE !== 0) {
      throw new FormatError(file, load.at + 40, `p_memsz to be a multiple of ${PAGE_SIZE}`);
    }
    if (reduced && (load.fileOffset % PAGE_SIZE !== 0 || load.fileSize !== load.memorySize)) {
      throw new FormatError(file, load.at + 8, "whole pages at a page-aligned offset, as PTIMAGE cores have");
    }
    if (inMemory > maxBytes) {
      throw new FormatError(file, load.at + 40, `at most ${maxBytes} bytes of memory in all segments`);
    }
    if (inFile > fileSize) {
      throw new FormatError(file, load.at + 32, "segments that do not share bytes of the file");
    }
  }
  loads.sort((a, b) => a.physical - b.physical);
  let end = 0;
  for (const load of loads) {
    if (load.physical < end) {
      const place = `0x${load.physical.toString(16)}`;
      throw new FormatError(file, load.at + 24, `segments that do not overlap, found a second at ${place}`);
    }
    end = load.physical + load.memorySize;
  }
}
