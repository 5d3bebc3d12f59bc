import type { TraceRecord } from "../record.ts";
import { type FieldCodec, fieldCodec, TextTable as Texts, type TextTable } from "./binary-value.ts";
import { ByteOutput } from "./byte-output.ts";
import { headerText, MARKS, type Mark, type TraceHeader } from "./header.ts";
import type { ByteSink, RecordWriter } from "./record-codec.ts";
import { laterName, type Schema } from "./schema.ts";
import type { Loose } from "./text-value.ts";

/*
 * The form that is small and quick:
 *
 *   file    magic            89 50 54 52 45 43 0d 0a: no text begins so, and whoever changes line ends breaks it
 *           block            the header, JSON
 *           entry ...
 *   entry   whole            bytes that follow
 *           whole            0: a mark; else 1 + the place of the kind in the header
 *   mark    whole            which one: 0 the opening is over, 1 the recording is
 *   record  byte             1 seq is not the last + 1   2 agent   4 cpu   8 space is not the last one's
 *           signed           the difference to the last seq, if bit 1 is set
 *           whole            agent, 1 + cpu, 1 + space: those whose bit is set
 *           field ...        in the order of the header, see binary-value.ts
 *
 * whole, signed, words and block are those of ByteOutput. Before the first record seq and agent are 0, cpu and space none.
 */
export const MAGIC: Uint8Array = Uint8Array.of(0x89, 0x50, 0x54, 0x52, 0x45, 0x43, 0x0d, 0x0a);

export const SEQ_DIFFERS = 1;
export const AGENT_DIFFERS = 2;
export const CPU_DIFFERS = 4;
export const SPACE_DIFFERS = 8;

const BLOCK = 2 ** 16;

/** How a file's kinds are held, in the order of the header; null for a field of a later version's encoding. */
export function codecsOf(schema: Schema, texts: TextTable): readonly (readonly (FieldCodec | null)[])[] {
  // A field has one codec in all kinds, because it is held by its last value.
  const byName = new Map<string, FieldCodec>();
  return schema.map(({ fields }) =>
    fields.map(({ name, is, knownAs }) => {
      if (laterName(is) !== null) return null;
      const codec = byName.get(name) ?? fieldCodec(is as never, name, knownAs as never, texts);
      byName.set(name, codec);
      return codec;
    }),
  );
}

/** Writes the binary form. */
export class BinaryWriter implements RecordWriter {
  readonly #sink: ByteSink;
  readonly #numbers: ReadonlyMap<string, number>;
  readonly #codecs: ReturnType<typeof codecsOf>;
  readonly #body = new ByteOutput();
  readonly #out = new ByteOutput();
  #seq = 0;
  #agent = 0;
  #cpu = -1;
  #space = -1;

  constructor(header: TraceHeader, sink: ByteSink) {
    this.#sink = sink;
    this.#numbers = new Map(header.schema.map(({ name }, place) => [name, place]));
    this.#codecs = codecsOf(header.schema, new Texts());
    this.#out.append(MAGIC);
    this.#out.block(new TextEncoder().encode(headerText(header)));
  }

  record(record: TraceRecord): void {
    const place = this.#numbers.get(record.kind);
    if (place === undefined) throw new TypeError(`kind ${record.kind}: the header does not have it`);
    const body = this.#body;
    body.clear();
    body.whole(1 + place);
    this.#common(record);
    for (const codec of this.#codecs[place]!) {
      if (codec === null) throw new TypeError(`kind ${record.kind}: a field of a later version`);
      codec.write(record as unknown as Loose, body);
    }
    this.#end();
  }

  mark(mark: Mark): void {
    this.#body.clear();
    this.#body.whole(0);
    this.#body.whole(MARKS.indexOf(mark));
    this.#end();
  }

  flush(): void {
    if (this.#out.length > 0) this.#sink(this.#out.view().slice());
    this.#out.clear();
  }

  #common({ seq, agent, cpu, space }: TraceRecord): void {
    const body = this.#body;
    const differs =
      (seq === this.#seq + 1 ? 0 : SEQ_DIFFERS) |
      (agent === this.#agent ? 0 : AGENT_DIFFERS) |
      (cpu === this.#cpu ? 0 : CPU_DIFFERS) |
      (space === this.#space ? 0 : SPACE_DIFFERS);
    body.byte(differs);
    if ((differs & SEQ_DIFFERS) !== 0) body.signed(seq - this.#seq);
    if ((differs & AGENT_DIFFERS) !== 0) body.whole(agent);
    if ((differs & CPU_DIFFERS) !== 0) body.whole(1 + cpu);
    if ((differs & SPACE_DIFFERS) !== 0) body.whole(1 + space);
    this.#seq = seq;
    this.#agent = agent;
    this.#cpu = cpu;
    this.#space = space;
  }

  #end(): void {
    this.#out.block(this.#body.view());
    if (this.#out.length >= BLOCK) this.flush();
  }
}
