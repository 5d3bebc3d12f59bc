import type { CpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../../../arch/x86/cpu/machine.ts";
import type { PteFormat } from "../../../arch/x86/mm/pte-format.ts";
import type { Kernel } from "../../mm/mm_types.ts";
import { fieldsOf, Misfit, oneOf, refuse, wholeOf } from "./misfit.ts";
import { formatJson, formatOf, modelJson, modelOf } from "./model-json.ts";
import { currentSchema, type Schema, schemaJson, schemaOf } from "./schema.ts";

const FORMAT = "ptescope-records";
const VERSION = 1;
const MAX_CPUS = 4096;

/** What a machine is, as far as a judge of its records must know. */
export interface RecordedMachine {
  readonly model: CpuModel;
  /** Paging levels. */
  readonly levels: 4 | 5;
  /** Bytes of physical memory, a multiple of 4096. */
  readonly memory: number;
  /** Logical CPUs. */
  readonly cpus: number;
  /** How the system reads entries that the processor does not use; null when none is known. */
  readonly format: PteFormat | null;
}

/** What a file begins with. */
export interface TraceHeader extends RecordedMachine {
  readonly schema: Schema;
}

/** Marks between records: the opening is over, the recording is. */
export const MARKS = ["opened", "ended"] as const;
/** Name of a mark. */
export type Mark = (typeof MARKS)[number];

/** The header for a recording of a machine, or of a kernel and its machine. */
export function headerOf(subject: Machine | Kernel): TraceHeader {
  const machine = subject instanceof Machine ? subject : subject.machine;
  return {
    model: machine.model,
    levels: machine.cpu(0).control.levels,
    memory: machine.memory.size,
    cpus: machine.cpus.length,
    format: subject instanceof Machine ? null : subject.format,
    schema: currentSchema(),
  };
}

/** A header as one line of JSON, the same in both forms. */
export function headerText(header: TraceHeader): string {
  const { model, levels, memory, cpus, format, schema } = header;
  return JSON.stringify({
    format: FORMAT,
    version: VERSION,
    model: modelJson(model),
    levels,
    memory,
    cpus,
    entries: formatJson(format),
    ...schemaJson(schema),
  });
}

/** Takes a header. What it has besides, as of a later version, is left out. Throws Misfit. */
export function headerFrom(text: string): TraceHeader {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    refuse("the header", "JSON", text);
  }
  const fields = fieldsOf(json, "the header");
  oneOf(fields.get("format"), "format", [FORMAT]);
  if (fields.get("version") !== VERSION) refuse("version", `${VERSION}`, fields.get("version"));
  const model = modelOf(fields.get("model"));
  const levels = oneOf(fields.get("levels"), "levels", [4, 5] as const);
  if (levels === 5 && !model.la57) throw new Misfit("a model with LA57, for five levels");
  const memory = wholeOf(fields.get("memory"), "memory", 4096, 2 ** 52);
  if (memory % 4096 !== 0) refuse("memory", "a multiple of 4096", memory);
  return {
    model,
    levels,
    memory,
    cpus: wholeOf(fields.get("cpus"), "cpus", 1, MAX_CPUS),
    format: formatOf(fields.get("entries") ?? null),
    schema: schemaOf(fields.get("fields"), fields.get("kinds")),
  };
}
