import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { ByteView } from "./byte-view.ts";
import { type PtImageNote, readPtImageNote } from "./elf-note.ts";
import { type FileBytes, openFileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { MAX_PHYSICAL, type MemoryImage, type MemorySegment } from "./memory-image.ts";
import { ReadBudget } from "./read-budget.ts";

/** Most bytes of physical memory in one core: the segments of an ordinary machine, held in memory at once. */
export const MAX_CORE_BYTES = 2 ** 32;
/** PN_XNUM (0xffff) says "the real count is elsewhere"; nobody needs that many runs of pages. */
const MAX_PROGRAM_HEADERS = 0xfffe;
/** Of all PT_NOTE segments together, so that many headers cannot name the same large range. */
const MAX_NOTE_BYTES = 2 ** 24;

const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const PT_NULL = 0;
const PT_LOAD = 1;
const PT_NOTE = 4;

/** Fields of the ELF64 header that have one right value (gABI, "ELF Header"; psABI for the machine). */
const HEADER_FIELDS: readonly { at: number; bytes: 1 | 2 | 4; value: number; what: string }[] = [
  { at: 0, bytes: 4, value: 0x464c457f, what: "the ELF magic 0x7f E L F" },
  { at: 4, bytes: 1, value: 2, what: "ELFCLASS64 (2)" },
  { at: 5, bytes: 1, value: 1, what: "ELFDATA2LSB (1), little-endian" },
  { at: 6, bytes: 1, value: 1, what: "EV_CURRENT (1)" },
  { at: 16, bytes: 2, value: 4, what: "ET_CORE (4)" },
  { at: 18, bytes: 2, value: 62, what: "EM_X86_64 (62)" },
  { at: 20, bytes: 4, value: 1, what: "EV_CURRENT (1)" },
  { at: 54, bytes: 2, value: PROGRAM_HEADER_SIZE, what: "program headers of 56 bytes" },
];

/** A segment with its bytes. */
export interface ElfSegment extends MemorySegment {
  readonly bytes: Uint8Array;
}

/** A core read whole. Its note is null unless it is one of our reduced ones: dump-guest-memory writes others. */
export interface ElfCore extends MemoryImage {
  readonly segments: readonly ElfSegment[];
}

/** Bounds for {@link readElfCore}. */
export interface ElfCoreOptions {
  /** Most bytes of memory in the core, and of a gzip file's content. */
  readonly maxBytes?: number;
  readonly budget?: ReadBudget;
}

interface ProgramHeader {
  /** Offset of the header itself, for messages. */
  readonly at: number;
  readonly type: number;
  readonly fileOffset: number;
  readonly physical: number;
  readonly fileSize: number;
  readonly memorySize: number;
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
  const headers = readProgramHeaders(file, source);
  let note: PtImageNote | null = null;
  let noteBytes = 0;
  for (const header of headers.filter(({ type }) => type === PT_NOTE)) {
    noteBytes += header.fileSize;
    if (noteBytes > MAX_NOTE_BYTES) {
      throw new FormatError(file, header.at + 32, `at most ${MAX_NOTE_BYTES} bytes of notes in all`);
    }
    const bytes = source.read(header.fileOffset, header.fileSize, "a PT_NOTE segment");
    const found = readPtImageNote(file, bytes, header.fileOffset);
    if (found !== null && note !== null) throw new FormatError(file, header.at, "one PTIMAGE note");
    note = found ?? note;
  }
  const loads = headers.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
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

function readProgramHeaders(file: string, source: FileBytes): ProgramHeader[] {
  const start = new ByteView(file, source.read(0, Math.min(HEADER_SIZE, source.size), "the ELF header"));
  for (const { at, bytes, value, what } of HEADER_FIELDS) {
    const found = bytes === 1 ? start.u8(at, what) : bytes === 2 ? start.u16(at, what) : start.u32(at, what);
    if (found !== value) throw start.error(at, `${what}, found 0x${found.toString(16)}`);
  }
  const tableAt = start.u64(32, "the offset of the program headers");
  const count = start.u16(56, "the number of program headers");
  if (count < 1 || count > MAX_PROGRAM_HEADERS) {
    throw start.error(56, `1 to ${MAX_PROGRAM_HEADERS} program headers, found ${count}`);
  }
  const size = count * PROGRAM_HEADER_SIZE;
  if (tableAt + size > source.size) {
    throw start.error(32, `${count} program headers inside the file of 0x${source.size.toString(16)} bytes`);
  }
  const table = new ByteView(file, source.read(tableAt, size, "the program headers"), tableAt);
  return Array.from({ length: count }, (_, index) =>
    readProgramHeader(table, index * PROGRAM_HEADER_SIZE, source.size),
  );
}

function readProgramHeader(table: ByteView, at: number, fileEnd: number): ProgramHeader {
  const header: ProgramHeader = {
    at: table.base + at,
    type: table.u32(at, "p_type"),
    fileOffset: table.u64(at + 8, "p_offset"),
    physical: table.u64(at + 24, "p_paddr"),
    fileSize: table.u64(at + 32, "p_filesz"),
    memorySize: table.u64(at + 40, "p_memsz"),
  };
  if (header.type !== PT_LOAD && header.type !== PT_NOTE && header.type !== PT_NULL) {
    throw table.error(at, `PT_LOAD (1) or PT_NOTE (4), found ${header.type}`);
  }
  if (header.type !== PT_NULL && header.fileOffset + header.fileSize > fileEnd) {
    throw table.error(at + 8, `a segment inside the file of 0x${fileEnd.toString(16)} bytes`);
  }
  return header;
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
