import { cpuModel, DEFAULT_CPU_MODEL } from "../../../arch/x86/cpu/cpu-model.ts";
import { type Form, recordDecoder, recordWriter } from "../../../src/trace/file/forms.ts";
import type { Mark, TraceHeader } from "../../../src/trace/file/header.ts";
import { currentSchema } from "../../../src/trace/file/schema.ts";
import type { TraceRecord } from "../../../src/trace/record.ts";

/** A machine of 64 MiB with two CPUs, nothing known of its system. */
export const HEADER: TraceHeader = {
  model: cpuModel(DEFAULT_CPU_MODEL),
  levels: 4,
  memory: 2 ** 26,
  cpus: 2,
  format: null,
  schema: currentSchema(),
};

export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(chunks));
}

/** A file in one piece. */
export function fileOf(
  form: Form,
  items: readonly (TraceRecord | Mark)[],
  header: TraceHeader = HEADER,
): Uint8Array {
  const chunks: Uint8Array[] = [];
  const writer = recordWriter(form, header, (bytes) => chunks.push(bytes));
  for (const item of items) {
    if (typeof item === "string") writer.mark(item);
    else writer.record(item);
  }
  writer.flush();
  return joined(chunks);
}

/** What a file has, decoded only, whatever it means. */
export function itemsOf(bytes: Uint8Array, step = bytes.length): (TraceRecord | Mark)[] {
  const decoder = recordDecoder(bytes[0]!, "test", 2 ** 20)!;
  const items: (TraceRecord | Mark)[] = [];
  for (let at = 0; at < bytes.length; at += step) {
    decoder.feed(bytes.slice(at, at + step));
    for (let item = decoder.next(); item !== null; item = decoder.next()) items.push(item);
  }
  decoder.finish();
  return items;
}

/** A file in pieces of some bytes. */
export function* piecesOf(bytes: Uint8Array, step: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.slice(at, at + step);
}

const encoder = new TextEncoder();

/** A file of lines. */
export function linesFile(lines: readonly string[]): Uint8Array {
  return encoder.encode(lines.map((line) => `${line}\n`).join(""));
}

export function linesOf(bytes: Uint8Array): string[] {
  return new TextDecoder().decode(bytes).trimEnd().split("\n");
}
