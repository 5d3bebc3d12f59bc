import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { MAX_PHYSICAL, type MemorySegment, PagedImage, sortSegments } from "./memory-image.ts";

/** A piece of a raw file: the memory from `start` to below `end` stands at `offset`. Bytes; whole pages. */
export interface RawPiece {
  readonly start: number;
  readonly end: number;
  readonly offset: number;
}

/**
 * Takes a file as a machine's memory: byte by byte from physical address 0 on, or as `pieces` say. Nothing in it says
 * so: the only thing that can be checked is that there are whole pages. Throws FormatError.
 */
export function readRawImage(file: string, bytes: FileBytes, pieces: readonly RawPiece[] = []): PagedImage {
  const { size } = bytes;
  if (pieces.length > 0) {
    const segments = pieces.map((piece) => segmentOf(file, size, piece));
    return new PagedImage(
      file,
      "raw",
      bytes,
      sortSegments(file, segments, ({ fileOffset }) => fileOffset),
    );
  }
  if (size === 0 || size % PAGE_SIZE !== 0 || size > MAX_PHYSICAL) {
    const end = size - (size % PAGE_SIZE);
    throw new FormatError(
      file,
      end,
      `whole pages of ${PAGE_SIZE} bytes, as a raw image of memory has, found the end at 0x${size.toString(16)}`,
    );
  }
  return new PagedImage(file, "raw", bytes, [{ physical: 0, size, fileOffset: 0, fileSize: size }]);
}

function segmentOf(file: string, fileSize: number, { start, end, offset }: RawPiece): MemorySegment {
  const size = end - start;
  if (offset + size > fileSize) {
    const found = `found the end at 0x${fileSize.toString(16)}`;
    throw new FormatError(file, offset, `0x${size.toString(16)} bytes of memory from here, ${found}`);
  }
  return { physical: start, size, fileOffset: offset, fileSize: size };
}
