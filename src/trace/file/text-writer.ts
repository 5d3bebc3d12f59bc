import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { TraceRecord } from "../record.ts";
import { headerText, type Mark, type TraceHeader } from "./header.ts";
import type { ByteSink, RecordWriter } from "./record-codec.ts";
import { laterName } from "./schema.ts";
import { type FieldText, fieldText, type Loose } from "./text-value.ts";

/** Characters that are put together before they become bytes. */
const BLOCK = 2 ** 16;

/*
 * The form for people and other programs: lines of JSON.
 *
 *   {"format":"ptescope-records","version":1,"model":...,"fields":{...},"kinds":[...]}
 *   {"kind":"table-linked","seq":0,"agent":0,"cpu":null,"space":null,"pfn":"0x1000",...}    the opening
 *   {"mark":"opened"}
 *   {"kind":"entry-written","seq":17,"agent":3,"cpu":0,"space":null,"slot":"0x1000008","old":"0x0","entry":"0x67"}
 *   {"mark":"ended"}
 *
 *   int, bytes                a number            linear, entry    "0x7f0000001000"
 *   pfn, slot, physical       "0x1234"            cpus             [3]: words of 32 bits
 *   flag                      true or false       words            see table-text.ts
 *   text, list of texts       "text"              NONE             null
 */

interface KindText {
  /** The line up to the value of seq. */
  readonly start: string;
  readonly fields: readonly { readonly label: string; readonly text: FieldText }[];
}

/** Writes lines of JSON. */
export class TextWriter implements RecordWriter {
  readonly #sink: ByteSink;
  readonly #kinds = new Map<string, KindText>();
  readonly #encoder = new TextEncoder();
  #block = "";

  constructor(header: TraceHeader, sink: ByteSink) {
    this.#sink = sink;
    for (const { name, fields } of header.schema) {
      this.#kinds.set(name, {
        start: `{"kind":${JSON.stringify(name)},"seq":`,
        fields: fields.map((field) => {
          if (laterName(field.is) !== null)
            throw new TypeError(`field ${field.name}: an encoding of a later version`);
          return { label: `,${JSON.stringify(field.name)}:`, text: fieldText(field.is as never, field.name) };
        }),
      });
    }
    this.#put(headerText(header));
  }

  record(record: TraceRecord): void {
    const kind = this.#kinds.get(record.kind);
    if (kind === undefined) throw new TypeError(`kind ${record.kind}: the header does not have it`);
    const { seq, agent, cpu, space } = record;
    let line = `${kind.start}${seq},"agent":${agent},"cpu":${orNull(cpu)},"space":${orNull(space)}`;
    const { fields } = kind;
    for (let i = 0; i < fields.length; i++) {
      const { label, text } = fields[i]!;
      line += label + text(record as unknown as Loose);
    }
    this.#put(`${line}}`);
  }

  mark(mark: Mark): void {
    this.#put(JSON.stringify({ mark }));
  }

  flush(): void {
    if (this.#block.length > 0) this.#sink(this.#encoder.encode(this.#block));
    this.#block = "";
  }

  #put(line: string): void {
    this.#block += line;
    this.#block += "\n";
    if (this.#block.length >= BLOCK) this.flush();
  }
}

function orNull(id: number): string {
  return id === NONE ? "null" : `${id}`;
}
