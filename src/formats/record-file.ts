import { closeSync, openSync, writeSync } from "node:fs";
import { FormatError } from "./format-error.ts";
import { openRegularFile } from "./gzip.ts";
import { ReadBudget } from "./read-budget.ts";

/** Bytes read at once. */
const STEP = 2 ** 18;

/**
 * The bytes of a file of records, piece by piece as they are asked for. Throws FormatError for what is no regular file, or
 * cannot be read.
 */
export function* recordFileChunks(
  file: string,
  budget: ReadBudget = new ReadBudget(Infinity),
): Generator<Uint8Array, void, undefined> {
  const source = openRegularFile(file);
  try {
    for (let at = 0; at < source.size; ) {
      const chunk = source.read(at, Math.min(STEP, source.size - at), budget);
      at += chunk.length;
      yield chunk;
    }
  } finally {
    source.close();
  }
}

/** A file that is being written. */
export interface RecordFileSink {
  /** Adds bytes at the end. */
  readonly write: (bytes: Uint8Array) => void;
  close(): void;
}

/** Makes a file of records, or empties the one that is there. Throws FormatError when it cannot be written. */
export function createRecordFile(file: string): RecordFileSink {
  const descriptor = writing(file, () => openSync(file, "w"));
  return {
    write: (bytes) => {
      for (let done = 0; done < bytes.length; ) {
        done += writing(file, () => writeSync(descriptor, bytes, done, bytes.length - done));
      }
    },
    close: () => closeSync(descriptor),
  };
}

function writing<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new FormatError(file, null, `a file that can be written (${code})`);
  }
}
