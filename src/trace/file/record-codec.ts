import { FormatError } from "../../formats/format-error.ts";
import type { TraceRecord } from "../record.ts";
import type { Mark, TraceHeader } from "./header.ts";
import { Misfit } from "./misfit.ts";

/** Takes the next bytes of a file; they are its own from then on. */
export type ByteSink = (bytes: Uint8Array) => void;

/** Writes a file, whose header it has written already. */
export interface RecordWriter {
  /** Throws TypeError for a kind that the header does not have, Misfit for a value that its encoding cannot hold. */
  record(record: TraceRecord): void;
  mark(mark: Mark): void;
  /** Hands on what it still has. */
  flush(): void;
}

/** Takes a file apart as its bytes come. */
export interface RecordDecoder {
  /** Null before it was read. */
  readonly header: TraceHeader | null;
  /** Byte offset of what {@link next} gave last. */
  readonly offset: number;
  /** Adds bytes, when {@link next} has nothing more. Throws FormatError when one line or record grows too long. */
  feed(bytes: Uint8Array): void;
  /** The next record or mark of a kind that this version knows; null when more bytes are needed. Throws FormatError. */
  next(): TraceRecord | Mark | null;
  /** No more bytes come. Throws FormatError when they end in the middle. */
  finish(): void;
}

/** An error as it is to be thrown: a Misfit becomes a FormatError of that place. */
export function placed(error: unknown, file: string, offset: number): unknown {
  return error instanceof Misfit ? new FormatError(file, offset, error.message) : error;
}

/** A record with what the file does not have, to which the fields that it has are added. */
export function emptyRecord(
  kind: string,
  seq: number,
  agent: number,
  cpu: number,
  space: number,
  absent: readonly (readonly [string, unknown])[],
): Record<string, unknown> {
  const record: Record<string, unknown> = { kind, seq, agent, cpu, space };
  for (let i = 0; i < absent.length; i++) record[absent[i]![0]] = absent[i]![1];
  return record;
}
