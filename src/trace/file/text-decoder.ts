import { NONE } from "../../../arch/x86/cpu/address.ts";
import { FormatError } from "../../formats/format-error.ts";
import type { TraceRecord } from "../record.ts";
import { headerFrom, MARKS, type Mark, type TraceHeader } from "./header.ts";
import { Misfit, oneOf, refuse, wholeOf } from "./misfit.ts";
import { emptyRecord, placed, type RecordDecoder } from "./record-codec.ts";
import { type FileKind, laterName } from "./schema.ts";
import { type FieldTaker, fieldTaker } from "./text-value.ts";

const NEWLINE = 0x0a;
/** The properties that every record has: kind, seq, agent, cpu, space. */
const COMMON = 5;
const COMMON_NAMES: ReadonlySet<string> = new Set(["kind", "seq", "agent", "cpu", "space"]);
/** What a decoder puts for bytes that are no UTF-8. */
const REPLACEMENT = "\ufffd";

interface KindReader {
  readonly kind: FileKind;
  readonly fields: readonly { readonly name: string; readonly take: FieldTaker }[];
}

/** Takes lines of JSON apart. */
export class LineDecoder implements RecordDecoder {
  header: TraceHeader | null = null;
  readonly #file: string;
  readonly #longest: number;
  readonly #kinds = new Map<string, KindReader>();
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Whole lines, with the offset of the first byte and the place of the next line's first character. */
  #block = "";
  #blockOffset = 0;
  #at = 0;
  #lineAt = 0;
  #blockBytes = 0;
  /** Whether some bytes of the block were no UTF-8. */
  #broken = false;
  /** The start of a line whose end has not come. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(file: string, longest: number) {
    this.#file = file;
    this.#longest = longest;
  }

  get offset(): number {
    return this.#blockOffset + new TextEncoder().encode(this.#block.slice(0, this.#lineAt)).length;
  }

  feed(bytes: Uint8Array): void {
    const rest = this.#rest;
    this.#blockOffset += this.#blockBytes;
    this.#block = "";
    this.#at = 0;
    this.#lineAt = 0;
    this.#blockBytes = 0;
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    if (end > 0) {
      const lines = joined(rest, bytes.subarray(0, end));
      this.#block = this.#decoder.decode(lines);
      this.#blockBytes = lines.length;
      this.#broken = this.#block.includes(REPLACEMENT);
    }
    this.#rest = joined(end > 0 ? new Uint8Array(0) : rest, bytes.slice(end));
    if (this.#rest.length <= this.#longest) return;
    throw new FormatError(this.#file, this.#blockOffset + this.#blockBytes, this.#lineForm());
  }

  next(): TraceRecord | Mark | null {
    try {
      while (this.#at < this.#block.length) {
        const item = this.#line();
        if (item !== null) return item;
      }
      return null;
    } catch (error) {
      throw placed(error, this.#file, this.offset);
    }
  }

  finish(): void {
    if (this.#rest.length === 0) return;
    throw new FormatError(
      this.#file,
      this.#blockOffset + this.#blockBytes,
      "the end of a line, found the file's",
    );
  }

  #lineForm(): string {
    return `lines of at most ${this.#longest} bytes`;
  }

  /** What the next line has: null for the header, and for a record of a kind that is not known. */
  #line(): TraceRecord | Mark | null {
    const end = this.#block.indexOf("\n", this.#at);
    const line = this.#block.slice(this.#at, end);
    this.#lineAt = this.#at;
    this.#at = end + 1;
    if (line.length > this.#longest) throw new Misfit(this.#lineForm());
    if (this.#broken && line.includes(REPLACEMENT)) throw new Misfit("a line in UTF-8");
    if (this.header === null) {
      this.#open(headerFrom(line));
      return null;
    }
    let json: unknown;
    try {
      json = JSON.parse(line);
    } catch {
      refuse("a line", "JSON", line);
    }
    if (typeof json !== "object" || json === null || Array.isArray(json))
      refuse("a line", "a JSON object", json);
    return this.#item(json as Record<string, unknown>);
  }

  #open(header: TraceHeader): void {
    this.header = header;
    for (const kind of header.schema) {
      const fields = kind.fields.filter(({ known }) => known);
      this.#kinds.set(kind.name, {
        kind,
        fields: fields.map(({ name, is, knownAs }) => {
          if (laterName(is) !== null) throw new TypeError(`field ${name}: known, and of a later encoding`);
          return { name, take: fieldTaker(is as never, name, knownAs as never) };
        }),
      });
    }
  }

  #item(json: Record<string, unknown>): TraceRecord | Mark | null {
    if (Object.hasOwn(json, "mark")) return oneOf(json.mark, "mark", MARKS);
    const reader = this.#kinds.get(json.kind as string);
    if (reader === undefined) refuse("kind", "one that the header has", json.kind);
    const { kind, fields } = reader;
    if (kind.known === null) return null;
    if (Object.keys(json).length !== COMMON + kind.fields.length) checkNames(json, kind);
    const record = emptyRecord(
      kind.name,
      wholeOf(json.seq, "seq", 0, Number.MAX_SAFE_INTEGER),
      wholeOf(json.agent, "agent", 0, Number.MAX_SAFE_INTEGER),
      idOf(json.cpu, "cpu"),
      idOf(json.space, "space"),
      kind.absent,
    );
    for (let i = 0; i < fields.length; i++) {
      const { name, take } = fields[i]!;
      take(record, json[name]);
    }
    return record as unknown as TraceRecord;
  }
}

function idOf(value: unknown, name: string): number {
  return value === null ? NONE : wholeOf(value, name, 0, Number.MAX_SAFE_INTEGER);
}

/** Throws Misfit: a line's names are not those of its kind. */
function checkNames(json: object, { name: kind, fields }: FileKind): never {
  const names = new Set(fields.map(({ name }) => name));
  for (const name of Object.keys(json)) {
    if (!COMMON_NAMES.has(name) && !names.has(name))
      refuse(`fields of kind ${kind}`, "those of the header", name);
  }
  for (const name of [...COMMON_NAMES, ...names]) {
    if (!Object.hasOwn(json, name)) throw new Misfit(`field ${name} of kind ${kind}, found nothing`);
  }
  throw new Misfit(`the fields of kind ${kind}`);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
