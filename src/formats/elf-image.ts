import { EM_386, type ProgramHeader, PT_LOAD, readElfHeaders, readNoteSegments } from "./elf-header.ts";
import { type PtImageNote, readCpuNotes, readPtImageNote } from "./elf-note.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { type ImageNotes, MAX_PHYSICAL, type MemorySegment, PagedImage, wholePages } from "./memory-image.ts";

/**
 * Takes an ELF64 core of any origin (QEMU's dump-guest-memory, kexec's vmcore, a copy of /proc/kcore, our reduced ones)
 * for a machine's memory. Segments may begin and end inside a page, of which whole ones count; may hold the same memory
 * twice, of which the first stands; and may have no physical address: those are left out. Throws FormatError.
 */
export function readElfImage(file: string, bytes: FileBytes): PagedImage {
  const { machine, programs } = readElfHeaders(file, bytes, false);
  const notes = readNotes(file, bytes, programs, machine === EM_386);
  const segments: MemorySegment[] = [];
  for (const header of programs) {
    if (header.type !== PT_LOAD || header.memorySize === 0) continue;
    if (header.physical + header.memorySize > MAX_PHYSICAL) {
      throw new FormatError(file, header.at + 24, "a p_paddr and an end below 2^52");
    }
    const { physical, memorySize, fileOffset, fileSize } = header;
    const segment = wholePages(physical, memorySize, fileOffset, Math.min(fileSize, memorySize));
    if (segment !== null) segments.push(segment);
  }
  return new PagedImage(file, "ELF core", bytes, withoutRepeats(segments), notes);
}

/** The notes of a core or of another dump that has the same. Throws FormatError. */
export function notesOf(
  file: string,
  bytes: Uint8Array,
  fileOffset: number,
  legacyMode: boolean,
): ImageNotes {
  return {
    note: readPtImageNote(file, bytes, fileOffset),
    cpus: readCpuNotes(file, bytes, fileOffset),
    legacyMode,
  };
}

function readNotes(
  file: string,
  source: FileBytes,
  programs: readonly ProgramHeader[],
  legacyMode: boolean,
): ImageNotes {
  let note: PtImageNote | null = null;
  const cpus: ImageNotes["cpus"][number][] = [];
  for (const { header, bytes } of readNoteSegments(file, source, programs)) {
    const found = notesOf(file, bytes, header.fileOffset, legacyMode);
    if (found.note !== null && note !== null) throw new FormatError(file, header.at, "one PTIMAGE note");
    note = found.note ?? note;
    cpus.push(...found.cpus);
  }
  return { note, cpus, legacyMode };
}

/** In order of physical address; of what two segments hold, the part of the one that begins first. */
function withoutRepeats(segments: readonly MemorySegment[]): MemorySegment[] {
  const sorted = [...segments].sort((a, b) => a.physical - b.physical);
  const kept: MemorySegment[] = [];
  let end = 0;
  for (const { physical, size, fileOffset, fileSize } of sorted) {
    const skipped = Math.max(0, end - physical);
    if (skipped >= size) continue;
    kept.push({
      physical: physical + skipped,
      size: size - skipped,
      fileOffset: fileOffset + skipped,
      fileSize: Math.max(0, fileSize - skipped),
    });
    end = physical + size;
  }
  return kept;
}
