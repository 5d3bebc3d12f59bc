import { ByteView } from "./byte-view.ts";
import { FormatError } from "./format-error.ts";
import { gunzipBounded, isGzip, openRegularFile } from "./gzip.ts";
import type { ReadBudget } from "./read-budget.ts";

/** Most bytes in a compressed image: it is inflated whole, where a plain one is read piece by piece. */
export const MAX_GZIP_IMAGE_BYTES = 2 ** 30;

/** The content of a file, plain or inflated, read at any offset. Close it. */
export interface FileBytes {
  readonly size: number;
  /**
   * The bytes at [offset, offset + length). They may stand in `into`, an array of that many bytes, which whoever reads all of
   * a large file gives again and again. Throws FormatError that names `what` when the content ends before.
   */
  read(offset: number, length: number, what: string, into?: Uint8Array): Uint8Array;
  close(): void;
}

/**
 * Opens a plain or gzip file, told apart by the gzip magic. Of a plain file nothing else is read yet; a gzip file is
 * inflated to at most `maximum` bytes. Throws FormatError.
 */
export function openFileBytes(file: string, maximum: number, budget: ReadBudget): FileBytes {
  const source = openRegularFile(file);
  let closeNow = true;
  try {
    const { size } = source;
    if (!isGzip(source.read(0, Math.min(2, size), budget))) {
      closeNow = false;
      return {
        size,
        read: (offset, length, what, into) => {
          if (offset + length > size) {
            const found = `found the end at 0x${size.toString(16)}`;
            throw new FormatError(file, offset, `${what} (${length} bytes), ${found}`);
          }
          return source.read(offset, length, budget, into);
        },
        close: () => source.close(),
      };
    }
    const limit = Math.min(maximum, MAX_GZIP_IMAGE_BYTES);
    if (size > limit) throw new FormatError(file, null, `at most ${limit} bytes, found ${size}`);
    const content = gunzipBounded(file, source.read(0, size, budget), limit, budget);
    const view = new ByteView(file, content);
    return {
      size: view.length,
      read: (offset, length, what) => view.slice(offset, length, what),
      close: () => {},
    };
  } finally {
    if (closeNow) source.close();
  }
}
