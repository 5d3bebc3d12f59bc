import { FormatError } from "../../formats/format-error.ts";
import type { TraceRecord } from "../record.ts";
import { type FieldCodec, TextTable } from "./binary-value.ts";
import { AGENT_DIFFERS, CPU_DIFFERS, codecsOf, MAGIC, SEQ_DIFFERS, SPACE_DIFFERS } from "./binary-writer.ts";
import { ByteInput } from "./byte-input.ts";
import { headerFrom, MARKS, type Mark, type TraceHeader } from "./header.ts";
import { Misfit, refuse } from "./misfit.ts";
import { emptyRecord, placed, type RecordDecoder } from "./record-codec.ts";
import type { FileKind } from "./schema.ts";
import { type Loose, SCRAP } from "./text-value.ts";

/** Most bytes of the length before an entry. */
const LENGTH_BYTES = 5;

interface KindReader {
  readonly kind: FileKind;
  /** Null: a field that has its length before it, of an encoding of a later version. */
  readonly fields: readonly { readonly codec: FieldCodec | null; readonly known: boolean }[];
}

/** Takes the binary form apart. */
export class BinaryDecoder implements RecordDecoder {
  header: TraceHeader | null = null;
  offset = 0;
  readonly #file: string;
  readonly #longest: number;
  readonly #input = new ByteInput();
  #kinds: readonly KindReader[] = [];
  #bytes: Uint8Array = new Uint8Array(0);
  /** Of the next byte to be read, in `#bytes`; and the offset of `#bytes` in the file. */
  #at = 0;
  #base = 0;
  #bodyLength = 0;
  #magicRead = false;
  #seq = 0;
  #agent = 0;
  #cpu = -1;
  #space = -1;

  constructor(file: string, longest: number) {
    this.#file = file;
    this.#longest = longest;
  }

  feed(bytes: Uint8Array): void {
    const rest = this.#bytes.subarray(this.#at);
    this.#base += this.#at;
    this.#at = 0;
    if (rest.length === 0) {
      this.#bytes = bytes;
      return;
    }
    const all = new Uint8Array(rest.length + bytes.length);
    all.set(rest);
    all.set(bytes, rest.length);
    this.#bytes = all;
  }

  next(): TraceRecord | Mark | null {
    try {
      return this.#next();
    } catch (error) {
      throw placed(error, this.#file, this.offset);
    }
  }

  finish(): void {
    if (this.#at === this.#bytes.length) return;
    throw new FormatError(this.#file, this.#base + this.#at, "the end of a record, found the file's");
  }

  #next(): TraceRecord | Mark | null {
    if (!this.#magicRead && !this.#takeMagic()) return null;
    for (;;) {
      const start = this.#takeLength();
      if (start < 0) return null;
      const end = start + this.#bodyLength;
      this.#at = end;
      if (this.header === null) {
        this.#open(this.#bytes.subarray(start, end));
        continue;
      }
      this.#input.open(this.#bytes, start, end);
      const item = this.#entry();
      if (this.#input.left > 0) throw new Misfit(`a record's end, found ${this.#input.left} bytes more`);
      if (item !== null) return item;
    }
  }

  #takeMagic(): boolean {
    if (this.#bytes.length < MAGIC.length) return false;
    for (let i = 0; i < MAGIC.length; i++) {
      if (this.#bytes[i] !== MAGIC[i]) throw new Misfit("the first bytes of a recording");
    }
    this.#at = MAGIC.length;
    this.#magicRead = true;
    return true;
  }

  /** Where the next entry's body begins in `#bytes`, if all of it is there, else -1; its length is left behind. */
  #takeLength(): number {
    let length = 0;
    this.offset = this.#base + this.#at;
    for (let i = 0; i < LENGTH_BYTES; i++) {
      const byte = this.#bytes[this.#at + i];
      if (byte === undefined) return -1;
      length += (byte & 0x7f) * 128 ** i;
      if (byte >= 0x80) continue;
      if (length > this.#longest) break;
      this.#bodyLength = length;
      const start = this.#at + i + 1;
      return start + length <= this.#bytes.length ? start : -1;
    }
    throw new Misfit(`records of at most ${this.#longest} bytes`);
  }

  #open(bytes: Uint8Array): void {
    let text = "";
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw new Misfit("a header in UTF-8");
    }
    const header = headerFrom(text);
    const codecs = codecsOf(header.schema, new TextTable());
    this.#kinds = header.schema.map((kind, place) => ({
      kind,
      fields: kind.fields.map(({ known }, i) => ({ codec: codecs[place]![i]!, known })),
    }));
    this.header = header;
  }

  #entry(): TraceRecord | Mark | null {
    const input = this.#input;
    const number = input.whole();
    if (number === 0) {
      const mark = input.whole();
      return MARKS[mark] ?? refuse("a mark", `below ${MARKS.length}`, mark);
    }
    const reader = this.#kinds[number - 1];
    if (reader === undefined) return refuse("kind", `a number up to ${this.#kinds.length}`, number);
    this.#common();
    const { kind, fields } = reader;
    const record =
      kind.known === null
        ? SCRAP
        : emptyRecord(kind.name, this.#seq, this.#agent, this.#cpu, this.#space, kind.absent);
    for (let i = 0; i < fields.length; i++) {
      const { codec, known } = fields[i]!;
      // What is not wanted is read all the same: the next value is held by it.
      if (codec === null) input.block();
      else codec.read(input, known ? record : SCRAP);
    }
    return record === SCRAP ? null : (record as Loose as unknown as TraceRecord);
  }

  #common(): void {
    const input = this.#input;
    const differs = input.byte();
    if (differs > 15) refuse("the bits of what differs", "below 16", differs);
    this.#seq += (differs & SEQ_DIFFERS) === 0 ? 1 : input.signed();
    if ((differs & AGENT_DIFFERS) !== 0) this.#agent = input.whole();
    if ((differs & CPU_DIFFERS) !== 0) this.#cpu = input.whole() - 1;
    if ((differs & SPACE_DIFFERS) !== 0) this.#space = input.whole() - 1;
    if (this.#seq < 0 || this.#seq > Number.MAX_SAFE_INTEGER) refuse("seq", "a number below 2^53", this.#seq);
  }
}
