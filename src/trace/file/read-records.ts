import { need } from "../../../arch/x86/cpu/argument.ts";
import { iterable, numeral, optional, shape, text } from "../../../arch/x86/cpu/argument-kinds.ts";
import { FormatError } from "../../formats/format-error.ts";
import type { TraceRecord } from "../record.ts";
import { MAX_TABLES, RecordedWorld } from "../recorded-world.ts";
import { recordDecoder } from "./forms.ts";
import type { TraceHeader } from "./header.ts";
import { Misfit } from "./misfit.ts";
import { RecordCheck } from "./record-check.ts";
import type { RecordDecoder } from "./record-codec.ts";

/** Longest line, or record of the binary form, in bytes. */
const MAX_LINE = 2 ** 20;

/** Bounds for {@link readRecords}, and the file's name. */
export interface ReadOptions {
  /** What errors call the file; default "recording". */
  readonly file?: string;
  /** After so many records, the opening not counted, reading stops as if the file ended there. */
  readonly maxRecords?: number;
  /** Most tables that the world may hold; default 2^18, which is 1 GiB. */
  readonly maxTables?: number;
  /** Longest line, or record of the binary form, in bytes; default 1 MiB. */
  readonly maxLine?: number;
}

const MOST = optional(
  numeral<number>("limit", "a whole number, or Infinity", (most) => most >= 0 && !(most % 1 > 0)),
);
const OPTIONS = shape<ReadOptions>("options", {
  file: optional(text("file")),
  maxRecords: MOST,
  maxTables: MOST,
  maxLine: MOST,
});
const CHUNKS = iterable<Uint8Array>("chunks");

/**
 * A file of records that is being read: its header, what was the case, and then the records, each checked and taken into
 * the world before it is given out. Only what the world must know is kept.
 */
export class Recording implements Iterable<TraceRecord> {
  readonly header: TraceHeader;
  readonly world: RecordedWorld;
  /** What was the case when the recording began; the tables are in the world. Empty it when it has been taken in. */
  opening: readonly TraceRecord[] = [];
  /** Records given out. */
  records = 0;
  /** Whether the file has said that it is over: one that was cut between two records, or is still written, has not. */
  ended = false;
  /** Whether reading stopped because there were as many records as allowed. */
  limited = false;
  readonly #file: string;
  readonly #chunks: Iterator<Uint8Array>;
  readonly #decoder: RecordDecoder;
  readonly #check: RecordCheck;
  readonly #maxRecords: number;
  #over = false;

  /** Reads up to the end of the opening. Throws FormatError. */
  constructor(chunks: Iterable<Uint8Array>, options: ReadOptions) {
    const {
      file = "recording",
      maxRecords = Infinity,
      maxTables = MAX_TABLES,
      maxLine = MAX_LINE,
    } = need(OPTIONS, options);
    need(CHUNKS, chunks);
    this.#file = file;
    this.#maxRecords = maxRecords;
    this.#chunks = chunks[Symbol.iterator]();
    try {
      this.#decoder = this.#begin(maxLine);
      // The header comes out with the first record or mark.
      const first = this.#item();
      const { header } = this.#decoder;
      if (header === null) throw new FormatError(file, null, "a header, found the end");
      this.header = header;
      this.world = new RecordedWorld(header, maxTables);
      this.#check = new RecordCheck(header);
      this.#readOpening(first);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The next record, or null at the end. Throws FormatError. */
  next(): TraceRecord | null {
    try {
      return this.#record();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Lets go of the file; reading it to its end, or an error, does so by itself. */
  close(): void {
    this.#over = true;
    this.#chunks.return?.();
  }

  /** The records that were not given out yet. */
  *[Symbol.iterator](): Generator<TraceRecord, void, undefined> {
    for (let record = this.next(); record !== null; record = this.next()) yield record;
  }

  #record(): TraceRecord | null {
    if (this.#over) return null;
    const item = this.#item();
    if (item !== null && typeof item !== "string" && this.records < this.#maxRecords) {
      this.#take(item);
      this.records++;
      return item;
    }
    if (item === "opened") throw this.#error("the opening to be over once");
    if (item === "ended") {
      this.ended = true;
      if (this.#item() !== null) throw this.#error("nothing after the end of the recording");
    } else if (item !== null) this.limited = true;
    this.close();
    return null;
  }

  #begin(maxLine: number): RecordDecoder {
    for (;;) {
      const { value, done } = this.#chunks.next();
      if (done) throw new FormatError(this.#file, null, "a recording, found an empty file");
      if (value.length === 0) continue;
      const decoder = recordDecoder(value[0]!, this.#file, maxLine);
      if (decoder === null)
        throw new FormatError(this.#file, 0, "a recording: its first bytes are those of none");
      decoder.feed(value);
      return decoder;
    }
  }

  #item(): TraceRecord | "opened" | "ended" | null {
    for (;;) {
      const item = this.#decoder.next();
      if (item !== null) return item;
      const { value, done } = this.#chunks.next();
      if (done) {
        this.#decoder.finish();
        return null;
      }
      this.#decoder.feed(value);
    }
  }

  #readOpening(first: TraceRecord | "opened" | "ended" | null): void {
    const opening: TraceRecord[] = [];
    for (let item = first; item !== "opened"; item = this.#item()) {
      if (item === null)
        throw new FormatError(this.#file, null, "the end of the opening, found that of the file");
      if (item === "ended") throw this.#error("the opening to be over before the recording is");
      this.#take(item);
      if (item.kind !== "table-linked") opening.push(item);
    }
    this.opening = opening;
  }

  #take(record: TraceRecord): void {
    try {
      this.#check.take(record);
      this.world.take(record);
    } catch (error) {
      if (error instanceof Misfit) throw this.#error(error.message);
      throw error;
    }
  }

  #error(expected: string): FormatError {
    return new FormatError(this.#file, this.#decoder.offset, expected);
  }
}

/**
 * Reads a file of records, text or binary, told apart by the first byte. Chunks of any length are asked for as they are
 * needed, and must not change afterwards. Throws FormatError, also later, where the file is not what it should be.
 */
export function readRecords(chunks: Iterable<Uint8Array>, options: ReadOptions = {}): Recording {
  return new Recording(chunks, options);
}
