import { ByteView } from "./byte-view.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";

/** "makedumpfile", zero-padded to 16 bytes. */
export const FLATTENED_MAGIC = "makedumpfile\0\0\0\0";
/** Bytes before the first record. */
const HEADER_SIZE = 4096;
const RECORD_HEADER_SIZE = 16;
/** Writers collect pages in buffers: a record is some hundred KiB of a large dump. */
const MAX_RECORDS = 2 ** 21;
/** The offset of the last record. */
const END = 2n ** 64n - 1n;

/** A run of the rearranged file that stands in one piece in the flattened one. */
interface Piece {
  /** First byte and the one behind the last, in the rearranged file. */
  readonly start: number;
  readonly end: number;
  /** Where the first one stands. */
  readonly at: number;
}

/**
 * A flattened file as the file that it stands for. makedumpfile -F and QEMU's dump-guest-memory -z, -l and -s write
 * records to a stream that cannot seek: big-endian offset and size, then the bytes; what comes later replaces what came
 * before. Nothing is copied; only the headers of the records are read. Throws FormatError.
 *
 *     offset 0     16 bytes  "makedumpfile"
 *            16    8         type, 1
 *            24    8         version, 1
 *            4096  ...       records; one of offset -1 is the last
 */
export function unflatten(file: string, bytes: FileBytes): FileBytes {
  const pieces: Piece[] = [];
  let count = 0;
  for (let at = HEADER_SIZE; ; ) {
    const view = new DataView(
      Uint8Array.from(bytes.read(at, RECORD_HEADER_SIZE, "the header of a record")).buffer,
    );
    const offset = view.getBigUint64(0);
    const size = view.getBigUint64(8);
    if (offset === END) break;
    if (++count > MAX_RECORDS) throw new FormatError(file, at, `at most ${MAX_RECORDS} records`);
    const data = at + RECORD_HEADER_SIZE;
    if (BigInt(data) + size > BigInt(bytes.size) || offset > BigInt(Number.MAX_SAFE_INTEGER) - size) {
      throw new FormatError(file, at, `a record inside the file of 0x${bytes.size.toString(16)} bytes`);
    }
    if (size > 0n) insert(pieces, { start: Number(offset), end: Number(offset + size), at: data });
    at = data + Number(size);
  }
  const size = pieces.at(-1)?.end ?? 0;
  return {
    size,
    read: (offset, length, what) => {
      if (offset < 0 || offset + length > size)
        new ByteView(file, new Uint8Array(0), offset).require(0, length, what);
      return gather(bytes, pieces, offset, length, what);
    },
    close: () => bytes.close(),
  };
}

/** Puts a piece in its place; it replaces what others have there. */
function insert(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  if (last === undefined || last.end <= piece.start) {
    pieces.push(piece);
    return;
  }
  const first = indexAt(pieces, piece.start);
  let behind = first;
  const kept: Piece[] = [];
  for (; behind < pieces.length && pieces[behind]!.start < piece.end; behind++) {
    const old = pieces[behind]!;
    if (old.start < piece.start) kept.push({ ...old, end: piece.start });
    if (old.end > piece.end)
      kept.push({ start: piece.end, end: old.end, at: old.at + (piece.end - old.start) });
  }
  const at = kept[0] !== undefined && kept[0].start < piece.start ? 1 : 0;
  kept.splice(at, 0, piece);
  pieces.splice(first, behind - first, ...kept);
}

/** Index of the first piece that ends behind an offset. */
function indexAt(pieces: readonly Piece[], offset: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (pieces[middle]!.end <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The bytes of a range; what no record wrote is zero, as in a file with holes. */
function gather(
  bytes: FileBytes,
  pieces: readonly Piece[],
  offset: number,
  length: number,
  what: string,
): Uint8Array {
  const end = offset + length;
  const first = indexAt(pieces, offset);
  const whole = pieces[first];
  if (whole !== undefined && whole.start <= offset && whole.end >= end) {
    return bytes.read(whole.at + (offset - whole.start), length, what);
  }
  const gathered = new Uint8Array(length);
  for (let index = first; index < pieces.length && pieces[index]!.start < end; index++) {
    const { start, end: behind, at } = pieces[index]!;
    const from = Math.max(start, offset);
    const part = bytes.read(at + (from - start), Math.min(behind, end) - from, what);
    gathered.set(part, from - offset);
  }
  return gathered;
}
