import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

/** Where the copies of the golden vectors are. */
export const VECTORS = new URL("../data/vectors/", import.meta.url);

/** One entry of the tables before the access; values are hexadecimal, as SCHEMA.md says. */
export interface VectorEntry {
  readonly level: number;
  readonly pa: string;
  readonly value: string;
}

/** A line of the single-access files: one access with what must come of it. */
export interface AccessVector {
  readonly id: string;
  readonly group: string;
  readonly cr0wp: 0 | 1;
  readonly cr4: Readonly<Record<"la57" | "pge" | "pcide" | "smep" | "smap" | "pke" | "pks", 0 | 1>>;
  readonly efer_nxe: 0 | 1;
  readonly ac: 0 | 1;
  readonly cpl: 0 | 3;
  readonly pkru: string;
  readonly pkrs?: string;
  readonly maxphyaddr: number;
  readonly page1gb?: 0;
  readonly cr3: string;
  readonly la: string;
  readonly access: "read" | "write" | "rmw" | "fetch" | "implicit_read" | "segload";
  readonly size: 1 | 2 | 4 | 8;
  readonly insn?: string;
  readonly seg?: "ss";
  readonly tables: readonly VectorEntry[];
  readonly mem?: readonly { readonly pa: string; readonly value: string }[];
  readonly norm?: readonly string[];
  readonly sources?: readonly string[];
  readonly expect: {
    readonly fault: null | { readonly vector: number; readonly error: number; readonly cr2?: string };
    readonly pa: string | null;
    readonly pa2?: string;
    readonly after: readonly string[];
    readonly after_ignore?: readonly string[];
  };
}

/** The lines of a file, one object at a time. */
export function* vectorsOf<T>(name: string): Generator<T> {
  const bytes = gunzipSync(readFileSync(new URL(`${name}.jsonl.gz`, VECTORS)));
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    const stop = end < 0 ? bytes.length : end;
    if (stop > at) yield JSON.parse(bytes.toString("latin1", at, stop)) as T;
    at = stop + 1;
  }
}
