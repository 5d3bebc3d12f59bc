import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { DirectReader } from "./direct-read.ts";
import { FormatError } from "./format-error.ts";
import type { ReadBudget } from "./read-budget.ts";

/** One readSync takes at most 2^31-1 bytes; a smaller step keeps a lying file size cheap. */
const READ_STEP = 2 ** 26;

const GZIP_MAGIC_0 = 0x1f;
const GZIP_MAGIC_1 = 0x8b;

/** How large a file may be on disk, and how large what it holds may be. Bytes. */
export interface SizeLimits {
  readonly input: number;
  readonly output: number;
}

/**
 * The whole content of a plain or gzip file, told apart by the gzip magic and not by the name. The size is
 * looked at before the first byte is read, and decompression stops at the declared maximum, so that a bomb
 * costs no more than an honest file. Throws FormatError.
 */
export function readBounded(file: string, limits: SizeLimits, budget: ReadBudget): Uint8Array {
  const source = openRegularFile(file);
  try {
    if (source.size > limits.input) {
      throw new FormatError(file, null, `at most ${limits.input} bytes, found ${source.size}`);
    }
    const raw = source.read(0, source.size, budget);
    if (isGzip(raw)) return gunzipBounded(file, raw, limits.output, budget);
    if (raw.length > limits.output) {
      throw new FormatError(file, null, `at most ${limits.output} bytes, found ${raw.length}`);
    }
    return raw;
  } finally {
    source.close();
  }
}

/** Whether the bytes begin like a gzip file (RFC 1952, 2.3.1). */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes.length >= 2 && bytes[0] === GZIP_MAGIC_0 && bytes[1] === GZIP_MAGIC_1;
}

/** The decompressed content, at most `maximum` bytes of it. Throws FormatError. */
export function gunzipBounded(
  file: string,
  bytes: Uint8Array,
  maximum: number,
  budget: ReadBudget,
): Uint8Array {
  const allowed = Math.min(maximum, budget.bytesLeft);
  if (allowed < 1) budget.takeBytes(file, 1);
  let inflated: Uint8Array;
  try {
    inflated = gunzipSync(bytes, { maxOutputLength: allowed });
  } catch (error) {
    if (errorCode(error) === "ERR_BUFFER_TOO_LARGE") {
      budget.takeBytes(file, allowed);
      throw new FormatError(file, null, `at most ${allowed} bytes when decompressed`);
    }
    throw new FormatError(file, null, `a complete gzip stream (${reasonOf(error)})`);
  }
  budget.takeBytes(file, inflated.length);
  return inflated;
}

/** A regular file open for reading at any offset. Close it. */
export interface OpenFile {
  /** Bytes, as the file system says. */
  readonly size: number;
  /**
   * The bytes at [offset, offset + length), at the start of `into` where that is given (see {@link directBuffer}) and else
   * in an array of their own.
   * Throws FormatError when the file ends before.
   */
  read(offset: number, length: number, budget: ReadBudget, into?: Uint8Array): Uint8Array;
  close(): void;
}

/** Opens a regular file; a directory, a pipe or a device, whose size says nothing, is a FormatError. */
export function openRegularFile(file: string): OpenFile {
  // Looked at before open: opening a pipe without a writer would wait for ever.
  requireRegular(
    file,
    reading(file, () => statSync(file)),
  );
  const descriptor = reading(file, () => openSync(file, "r"));
  try {
    const stats = reading(file, () => fstatSync(descriptor));
    requireRegular(file, stats);
    const size = stats.size;
    const direct = new DirectReader(file, stats);
    return {
      size,
      read: (offset, length, budget, into) => {
        if (offset + length > size) {
          throw new FormatError(file, offset, `${length} bytes, found the end at 0x${size.toString(16)}`);
        }
        budget.takeBytes(file, length);
        const bytes = into?.subarray(0, length) ?? new Uint8Array(length);
        if (into === undefined || !direct.read(offset, bytes)) fill(file, descriptor, offset, bytes);
        return bytes;
      },
      close: () => {
        direct.close();
        closeSync(descriptor);
      },
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Whether the path names a directory. A path that cannot be looked at does not; reading it says why. */
export function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** Reads as many bytes as there is room for. */
function fill(file: string, descriptor: number, offset: number, bytes: Uint8Array): void {
  const { length } = bytes;
  let done = 0;
  while (done < length) {
    const step = Math.min(READ_STEP, length - done);
    const count = reading(file, () => readSync(descriptor, bytes, done, step, offset + done));
    if (count === 0) throw new FormatError(file, offset + done, "more bytes: the file became shorter");
    done += count;
  }
}

function requireRegular(file: string, stats: Stats): void {
  if (!stats.isFile()) throw new FormatError(file, null, "a regular file");
}

function reading<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new FormatError(file, null, `a readable file (${errorCode(error) ?? reasonOf(error)})`);
  }
}

function errorCode(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
