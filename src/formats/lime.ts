import { ByteView } from "./byte-view.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { MAX_PHYSICAL, type MemorySegment, PagedImage, sortSegments, wholePages } from "./memory-image.ts";

/** "EMiL" as the file has it: the first word of every header. */
export const LIME_MAGIC = 0x4c69_4d45;
const LIME_VERSION = 1;
const HEADER_SIZE = 32;
/** A machine has a few dozen ranges of memory; each costs one header. */
const MAX_RANGES = 2 ** 16;

/**
 * Reads a file of LiME, the Linux memory extractor, version 1: for each range of memory a header, then its bytes.
 *
 *     offset 0   4 bytes  magic 0x4c694d45
 *            4   4        version, 1
 *            8   8        physical address of the first byte
 *           16   8        physical address of the last byte
 *           24   8        reserved, not looked at
 *           32   ...      the bytes from the first to the last
 *
 * Ranges need not begin or end at a page's edge (the memory below 640 KiB of a PC does not). The piece of a page at
 * such an end cannot hold a page table and is left out. Throws FormatError.
 */
export function readLimeImage(file: string, bytes: FileBytes): PagedImage {
  const segments: MemorySegment[] = [];
  const headers = new Map<MemorySegment, number>();
  let count = 0;
  for (let at = 0; at < bytes.size; ) {
    if (++count > MAX_RANGES) throw new FormatError(file, at, `at most ${MAX_RANGES} ranges of memory`);
    const view = new ByteView(file, bytes.read(at, HEADER_SIZE, "the header of a range"), at);
    const { first, size } = readHeader(view);
    const data = at + HEADER_SIZE;
    if (data + size > bytes.size) {
      const found = `found the end of the file at 0x${bytes.size.toString(16)}`;
      throw new FormatError(file, data, `0x${size.toString(16)} bytes of memory from here, ${found}`);
    }
    const segment = wholePages(first, size, data);
    if (segment !== null) {
      segments.push(segment);
      headers.set(segment, at);
    }
    at = data + size;
  }
  if (segments.length === 0) throw new FormatError(file, null, "at least one whole page of memory");
  const sorted = sortSegments(file, segments, (segment) => (headers.get(segment) ?? 0) + 8);
  return new PagedImage(file, "LiME", bytes, sorted);
}

function readHeader(view: ByteView): { first: number; size: number } {
  const magic = view.u32(0, "the magic of a LiME header");
  if (magic !== LIME_MAGIC) {
    const expected = `the magic 0x${LIME_MAGIC.toString(16)} of a LiME header`;
    throw view.error(0, `${expected}, found 0x${magic.toString(16)}`);
  }
  const version = view.u32(4, "the version of a LiME header");
  if (version !== LIME_VERSION) throw view.error(4, `version ${LIME_VERSION} of LiME, found ${version}`);
  const first = view.u64(8, "the address of a range's first byte");
  const last = view.u64(16, "the address of a range's last byte");
  if (last < first || last >= MAX_PHYSICAL) {
    const found = `found 0x${last.toString(16)}`;
    throw view.error(16, `a last address from 0x${first.toString(16)} to below 2^52, ${found}`);
  }
  return { first, size: last - first + 1 };
}
