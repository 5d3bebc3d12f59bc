import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import type { FileBytes } from "./file-bytes.ts";
import { FormatError } from "./format-error.ts";
import { MAX_PHYSICAL, PagedImage } from "./memory-image.ts";

/**
 * Takes a file as a machine's memory from physical address 0 on, byte by byte. Nothing in it says so: the only thing
 * that can be checked is that it is made of whole pages. Throws FormatError.
 */
export function readRawImage(file: string, bytes: FileBytes): PagedImage {
  const { size } = bytes;
  if (size === 0 || size % PAGE_SIZE !== 0 || size > MAX_PHYSICAL) {
    const end = size - (size % PAGE_SIZE);
    throw new FormatError(
      file,
      end,
      `whole pages of ${PAGE_SIZE} bytes, as a raw image of memory has, found the end at 0x${size.toString(16)}`,
    );
  }
  return new PagedImage(file, bytes, [{ physical: 0, size, fileOffset: 0, fileSize: size }], () => null);
}
