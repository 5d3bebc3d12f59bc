import { closeSync, openSync, readSync } from "node:fs";
import { quote } from "../formats/format-error.ts";
import { oopsLines, oopsObject } from "../inspect/oops-lines.ts";
import { explainOops } from "../inspect/oops-report.ts";
import { parseOops } from "../inspect/oops-text.ts";
import { jsonText } from "../text/escape.ts";
import { type ParsedArguments, UsageError } from "./command.ts";
import { pteFormatOf } from "./image.ts";
import type { Terminal } from "./output.ts";
import {
  controlOf,
  type MachineState,
  type SaidRegisters,
  stateFrom,
  stateLine,
  stateObject,
} from "./registers.ts";

/** A console log of this size holds many an oops. */
const MOST_BYTES = 2 ** 24;
const CHUNK = 2 ** 16;
const STDIN = 0;
const OOPS = "the oops";

/**
 * Reads the lines of an oops from a file, or from standard input for null, walks its entries and explains the fault.
 * Returns the exit status. Throws UsageError for text without an entry.
 */
export async function decodeOops(
  file: string | null,
  parsed: ParsedArguments,
  terminal: Terminal,
): Promise<number> {
  const name = file === null ? "standard input" : quote(file);
  const oops = parseOops(readText(file, name));
  if (oops.entries.length === 0) {
    throw new UsageError(
      `${name}: no line with an entry; give lines such as "PGD 232ede067 PUD 232d60067 ..."`,
    );
  }
  const said: SaidRegisters = {};
  for (const register of ["cr0", "cr4", "efer", "pkru"] as const) {
    const value = oops.registers[register];
    if (value !== undefined) said[register] = { value, from: OOPS };
  }
  if (said.cr4 === undefined && oops.fiveLevels) said.cr4 = { value: 0x10a0n, from: "five entries" };
  const state = stateFrom(said, true, parsed);
  const cr3 = oops.registers.cr3 ?? 0n;
  const control = controlOf(forAnyCr4(state), cr3);
  const known = new Set([...Object.keys(said), ...["cr4", "pkru"].filter((each) => parsed.has(each))]);
  const report = explainOops(oops, control, pteFormatOf(null, parsed), state.mark, known);
  if (parsed.has("json")) {
    await terminal.write([jsonText({ ...oopsObject(report), assumed: stateObject(state) })]);
    return 0;
  }
  const lines = oopsLines(report, terminal.paint);
  lines.push(terminal.paint("quiet", stateLine(state, cr3)));
  await terminal.write(lines);
  return 0;
}

/** Unless a model was asked for, whatever CR4 of the oops has on is taken for a feature that the CPU has. */
function forAnyCr4(state: MachineState): MachineState {
  if (state.modelFrom !== "default") return state;
  return { ...state, model: { ...state.model, lam: true, lass: true, uai: true } };
}

function readText(file: string | null, name: string): string {
  const pieces: Buffer[] = [];
  let length = 0;
  try {
    const descriptor = file === null ? STDIN : openSync(file, "r");
    try {
      for (;;) {
        const piece = Buffer.alloc(CHUNK);
        const count = readSync(descriptor, piece);
        if (count === 0) break;
        length += count;
        if (length > MOST_BYTES)
          throw new UsageError(`${name}: more than 16 MiB, give the lines of the oops`);
        pieces.push(piece.subarray(0, count));
      }
    } finally {
      if (file !== null) closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${name}: it cannot be read (${(error as NodeJS.ErrnoException).code ?? "error"})`);
  }
  return Buffer.concat(pieces).toString("latin1");
}
