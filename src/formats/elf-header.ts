import { ByteView } from "./byte-view.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";

/** PN_XNUM (0xffff) says "the real count is elsewhere"; nobody needs that many runs of pages. */
const MAX_PROGRAM_HEADERS = 0xfffe;
/** Of all PT_NOTE segments together, so that many headers cannot name the same large range. */
const MAX_NOTE_BYTES = 2 ** 24;
/** What a segment's p_paddr is when it has no physical address: all ones, of which 64 bits fit no Number. */
const NO_ADDRESS = 2n ** 64n - 1n;

const HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
export const PT_NULL = 0;
export const PT_LOAD = 1;
export const PT_NOTE = 4;

/** Fields of the ELF64 header that have one right value (gABI, "ELF Header"; psABI for the machine). */
const HEADER_FIELDS: readonly { at: number; bytes: 1 | 2 | 4; value: number; what: string }[] = [
  { at: 0, bytes: 4, value: 0x464c457f, what: "the ELF magic 0x7f E L F" },
  { at: 4, bytes: 1, value: 2, what: "ELFCLASS64 (2)" },
  { at: 5, bytes: 1, value: 1, what: "ELFDATA2LSB (1), little-endian" },
  { at: 6, bytes: 1, value: 1, what: "EV_CURRENT (1)" },
  { at: 16, bytes: 2, value: 4, what: "ET_CORE (4)" },
  { at: 20, bytes: 4, value: 1, what: "EV_CURRENT (1)" },
  { at: 54, bytes: 2, value: PROGRAM_HEADER_SIZE, what: "program headers of 56 bytes" },
];

/** Machines of a core: QEMU writes EM_386 into an ELF64 file for a CPU outside long mode. */
export const EM_386 = 3;
export const EM_X86_64 = 62;

/** A program header. */
export interface ProgramHeader {
  /** Offset of the header itself, for messages. */
  readonly at: number;
  readonly type: number;
  readonly fileOffset: number;
  readonly physical: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

/** What the ELF header and the program headers say. */
export interface ElfHeaders {
  readonly machine: number;
  readonly programs: readonly ProgramHeader[];
}

/**
 * Reads the headers of an ELF64 core. `exact`, as for cores of our own: nothing but PT_LOAD, PT_NOTE and PT_NULL, a
 * machine of EM_X86_64. Otherwise segments of other types and those without a physical address are left out. Throws
 * FormatError.
 */
export function readElfHeaders(file: string, source: FileBytes, exact: boolean): ElfHeaders {
  const start = new ByteView(file, source.read(0, Math.min(HEADER_SIZE, source.size), "the ELF header"));
  for (const { at, bytes, value, what } of HEADER_FIELDS) {
    const found = bytes === 1 ? start.u8(at, what) : bytes === 2 ? start.u16(at, what) : start.u32(at, what);
    if (found !== value) throw start.error(at, `${what}, found 0x${found.toString(16)}`);
  }
  const machine = start.u16(18, "the machine");
  if (machine !== EM_X86_64 && (exact || machine !== EM_386)) {
    throw start.error(18, `EM_X86_64 (${EM_X86_64}), found 0x${machine.toString(16)}`);
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
  const programs = Array.from({ length: count }, (_, index) => index * PROGRAM_HEADER_SIZE)
    .filter((at) => exact || hasMemory(table, at))
    .map((at) => readProgramHeader(table, at, source.size));
  return { machine, programs };
}

/** Whether a header is a note, or memory with a physical address. */
function hasMemory(table: ByteView, at: number): boolean {
  const type = table.u32(at, "p_type");
  return type === PT_NOTE || (type === PT_LOAD && table.bigU64(at + 24, "p_paddr") !== NO_ADDRESS);
}

/** The bytes of every PT_NOTE segment, with its place in the file. Throws FormatError. */
export function* readNoteSegments(
  file: string,
  source: FileBytes,
  programs: readonly ProgramHeader[],
): Generator<{ readonly header: ProgramHeader; readonly bytes: Uint8Array }> {
  let size = 0;
  for (const header of programs) {
    if (header.type !== PT_NOTE) continue;
    size += header.fileSize;
    if (size > MAX_NOTE_BYTES) {
      throw new FormatError(file, header.at + 32, `at most ${MAX_NOTE_BYTES} bytes of notes in all`);
    }
    yield { header, bytes: source.read(header.fileOffset, header.fileSize, "a PT_NOTE segment") };
  }
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
