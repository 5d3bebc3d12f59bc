import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { ByteView } from "./byte-view.ts";
import type { CpuRegisters } from "./cpu-note.ts";
import { notesOf } from "./elf-image.ts";
import type { PtImageNote } from "./elf-note.ts";
import type { FileBytes } from "./file-bytes.ts";
import { quote } from "./format-error.ts";
import type { MemoryImage, MemoryPiece, MemoryRange } from "./memory-image.ts";
import { PACKINGS, packingName, unpackPage } from "./page-decompression.ts";

export const KDUMP_MAGIC = "KDUMP   ";
/** Of a file of 4 TiB of memory; a bit is a page. */
const MAX_BITMAP_BYTES = 2 ** 27;
const MAX_NOTE_BYTES = 2 ** 24;
/** The largest sub-header here is one block. */
const SUB_HEADER_SIZE = 104;
const HEADER_SIZE = 464;
const DESCRIPTOR_SIZE = 24;
/** Bits of a bitmap that one count stands for. */
const COUNTED_BITS = 2048;
const MACHINE_AT = 12 + 4 * 65;
const MACHINE_SIZE = 65;
/** From this version on the number of frames has 64 bits. */
const WIDE_VERSION = 6;
const NOTES_VERSION = 4;

/**
 * A kdump-compressed file, as makedumpfile and QEMU's dump-guest-memory write it, little-endian. Offsets were checked on
 * files of QEMU 7.2:
 *
 *     block 0        0    8  "KDUMP   "            block 1   8    4  dump level
 *                    8    4  version                         12   4  not 0: one of several files
 *                    12   .. six names of 65 bytes, the      48   8  offset of the ELF notes
 *                            fifth is the machine's          56   8  size of the notes
 *                    428  4  block size                      96   8  number of frames, from version 6 on
 *                    432  4  blocks of the sub-header
 *                    436  4  blocks of both bitmaps
 *                    440  4  number of frames, below version 6
 *
 * Behind the sub-header stand two bitmaps of equal size: which frames exist, and which of them are in the file. Then one
 * descriptor for each frame in the file, in order: offset (8 bytes), size (4), how it is packed (4), flags (8).
 */
interface KdumpHeader {
  readonly machine: string;
  readonly frames: number;
  readonly bitmapAt: number;
  /** Bytes of each of the two. */
  readonly bitmapSize: number;
  readonly noteAt: number;
  readonly noteSize: number;
}

/** Opens such a file. Throws FormatError. */
export function readKdumpImage(file: string, bytes: FileBytes): KdumpImage {
  const header = readHeader(file, bytes);
  const { machine, noteAt, noteSize, bitmapAt, bitmapSize } = header;
  const notes = noteSize === 0 ? new Uint8Array(0) : bytes.read(noteAt, noteSize, "the ELF notes");
  const bitmap = bytes.read(bitmapAt + bitmapSize, bitmapSize, "the bitmap of the frames in the file");
  return new KdumpImage(file, bytes, header, bitmap, notesOf(file, notes, noteAt, machine !== "x86_64"));
}

function readHeader(file: string, bytes: FileBytes): KdumpHeader {
  const head = new ByteView(file, bytes.read(0, HEADER_SIZE, "the header of a kdump file"));
  const version = head.u32(8, "the version");
  const blockSize = head.u32(428, "the size of a block");
  if (blockSize !== PAGE_SIZE) throw head.error(428, `blocks of ${PAGE_SIZE} bytes, found ${blockSize}`);
  const machine = Buffer.from(head.slice(MACHINE_AT, MACHINE_SIZE, "the machine's name"))
    .toString("latin1")
    .replace(/\0.*$/s, "");
  if (machine !== "x86_64" && !/^i[3-6]86$/.test(machine)) {
    throw head.error(MACHINE_AT, `the name of an x86 machine, found ${quote(machine)}`);
  }
  const sub = new ByteView(file, bytes.read(blockSize, SUB_HEADER_SIZE, "the sub-header"), blockSize);
  if (sub.u32(12, "the number of parts") !== 0) {
    throw sub.error(12, "a whole dump, found one of several files (makedumpfile --reassemble joins them)");
  }
  const bitmapBlocks = head.u32(436, "the blocks of both bitmaps");
  const bitmapSize = (bitmapBlocks * blockSize) / 2;
  if (bitmapSize > MAX_BITMAP_BYTES) throw head.error(436, `bitmaps of at most ${MAX_BITMAP_BYTES} bytes`);
  const frames =
    version >= WIDE_VERSION ? sub.u64(96, "the number of frames") : head.u32(440, "the number of frames");
  const noteSize = version >= NOTES_VERSION ? sub.u64(56, "the size of the notes") : 0;
  if (noteSize > MAX_NOTE_BYTES) throw sub.error(56, `at most ${MAX_NOTE_BYTES} bytes of notes`);
  return {
    machine,
    frames: Math.min(frames, 8 * bitmapSize),
    bitmapAt: (1 + head.u32(432, "the blocks of the sub-header")) * blockSize,
    bitmapSize,
    noteAt: noteSize === 0 ? 0 : sub.u64(48, "the offset of the notes"),
    noteSize,
  };
}

/** An open kdump file: pages are unpacked when they are asked for. */
class KdumpImage implements MemoryImage {
  readonly file: string;
  readonly format = "kdump";
  readonly note: PtImageNote | null;
  readonly cpus: readonly CpuRegisters[];
  readonly legacyMode: boolean;
  readonly memoryTop: number;
  readonly #bytes: FileBytes;
  readonly #bitmap: Uint8Array;
  readonly #frames: number;
  readonly #descriptorsAt: number;
  /** Set bits before each stretch of {@link COUNTED_BITS}. */
  readonly #counts: Uint32Array;

  constructor(
    file: string,
    bytes: FileBytes,
    { frames, bitmapAt, bitmapSize }: KdumpHeader,
    bitmap: Uint8Array,
    notes: Pick<MemoryImage, "note" | "cpus" | "legacyMode">,
  ) {
    this.file = file;
    this.#bytes = bytes;
    this.#bitmap = bitmap;
    this.#frames = frames;
    this.#descriptorsAt = bitmapAt + 2 * bitmapSize;
    this.note = notes.note;
    this.cpus = notes.cpus;
    this.legacyMode = notes.legacyMode;
    this.#counts = countBits(bitmap);
    let top = frames;
    while (top > 0 && !this.#isSet(top - 1)) top--;
    this.memoryTop = top * PAGE_SIZE;
  }

  *ranges(): Generator<MemoryRange> {
    let start = -1;
    for (let pfn = 0; pfn <= this.#frames; pfn++) {
      const held = pfn < this.#frames && this.#isSet(pfn);
      if (held && start < 0) start = pfn;
      if (held || start < 0) continue;
      yield { physical: start * PAGE_SIZE, size: (pfn - start) * PAGE_SIZE };
      start = -1;
    }
  }

  *pieces(passed: (bytes: number) => void = () => {}): Generator<MemoryPiece> {
    let seen = 0;
    for (const { physical, size } of this.ranges()) {
      for (let page = physical; page < physical + size; page += PAGE_SIZE) {
        yield { physical: page, bytes: this.readPage(page)! };
        seen += PAGE_SIZE;
        passed(seen);
      }
    }
  }

  holds(page: number): boolean {
    const pfn = page / PAGE_SIZE;
    return pfn < this.#frames && this.#isSet(pfn);
  }

  readPage(page: number): Uint8Array | null {
    if (!this.holds(page)) return null;
    const at = this.#descriptorsAt + this.#rank(page / PAGE_SIZE) * DESCRIPTOR_SIZE;
    const view = new ByteView(this.file, this.#bytes.read(at, DESCRIPTOR_SIZE, "a page's descriptor"), at);
    const offset = view.u64(0, "the offset of a page");
    const size = view.u32(8, "the size of a page");
    const flag = view.u32(12, "how a page is packed");
    const name = packingName(flag);
    if (name === null)
      throw view.error(12, `a page packed by ${PACKINGS.join(", ")}, found flags 0x${flag.toString(16)}`);
    if (size > PAGE_SIZE) throw view.error(8, `a packed page of at most ${PAGE_SIZE} bytes, found ${size}`);
    const unpacked = unpackPage(flag, this.#bytes.read(offset, size, "a packed page"), PAGE_SIZE);
    if (unpacked === null)
      throw view.error(0, `${PAGE_SIZE} bytes packed by ${name} at 0x${offset.toString(16)}`);
    return unpacked;
  }

  #isSet(pfn: number): boolean {
    return ((this.#bitmap[Math.floor(pfn / 8)]! >>> (pfn % 8)) & 1) === 1;
  }

  /** How many frames below this one are in the file. */
  #rank(pfn: number): number {
    const stretch = Math.floor(pfn / COUNTED_BITS);
    let rank = this.#counts[stretch]!;
    for (let bit = stretch * COUNTED_BITS; bit < pfn; bit++) if (this.#isSet(bit)) rank++;
    return rank;
  }
}

function countBits(bitmap: Uint8Array): Uint32Array {
  const bytes = COUNTED_BITS / 8;
  const counts = new Uint32Array(Math.ceil(bitmap.length / bytes) + 1);
  let sum = 0;
  for (const [at, byte] of bitmap.entries()) {
    if (at % bytes === 0) counts[at / bytes] = sum;
    for (let rest = byte; rest !== 0; rest &= rest - 1) sum++;
  }
  return counts;
}
