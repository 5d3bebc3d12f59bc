import { BinaryDecoder } from "./binary-decoder.ts";
import { BinaryWriter, MAGIC } from "./binary-writer.ts";
import type { TraceHeader } from "./header.ts";
import type { ByteSink, RecordDecoder, RecordWriter } from "./record-codec.ts";
import { LineDecoder } from "./text-decoder.ts";
import { TextWriter } from "./text-writer.ts";

/** The forms of a file: lines of JSON, or bytes; the same content. */
export const FORMS = ["text", "binary"] as const;
/** Name of a form. */
export type Form = (typeof FORMS)[number];

/** First byte of a line of JSON that is an object. */
const BRACE = 0x7b;

/** The writer of that form. */
export function recordWriter(form: Form, header: TraceHeader, sink: ByteSink): RecordWriter {
  return form === "text" ? new TextWriter(header, sink) : new BinaryWriter(header, sink);
}

/** The decoder for a file that begins with that byte, or null: it is none of the forms. */
export function recordDecoder(first: number, file: string, longest: number): RecordDecoder | null {
  if (first === BRACE) return new LineDecoder(file, longest);
  return first === MAGIC[0] ? new BinaryDecoder(file, longest) : null;
}
