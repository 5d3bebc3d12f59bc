import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { TRICKY_BYTES, TRICKY_WORDS } from "../../src/conform/tricky-entries.ts";
import { limeHeader } from "./lime-file.ts";

/** The tables of the image: all words lie below. */
const TABLES = 0x1_2000;

/** The tricky entries in a machine's memory. */
export function trickyMemory(): PhysicalMemory {
  const memory = new PhysicalMemory(TRICKY_BYTES);
  for (const { pa, value } of TRICKY_WORDS) {
    memory.write(pa, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  }
  return memory;
}

/** Writes the image as raw memory; only its tables take room on disk. */
export function writeTrickyRaw(file: string): string {
  return writeSparse(file, [{ at: 0, bytes: tables() }], TRICKY_BYTES);
}

/** Writes it as a LiME file of two ranges: the low 640 KiB less half a page, and what is above 1 MiB. */
export function writeTrickyLime(file: string): string {
  const low = 0x9_fc00;
  const high = { first: 0x10_0000, size: TRICKY_BYTES - 0x10_0000 };
  const second = 32 + low;
  return writeSparse(
    file,
    [
      { at: 0, bytes: limeHeader(0, low - 1) },
      { at: 32, bytes: tables() },
      { at: second, bytes: limeHeader(high.first, high.first + high.size - 1) },
    ],
    second + 32 + high.size,
  );
}

function tables(): Uint8Array {
  return trickyMemory().bytesAt(0, TABLES);
}

function writeSparse(
  file: string,
  parts: readonly { readonly at: number; readonly bytes: Uint8Array }[],
  size: number,
): string {
  const descriptor = openSync(file, "w");
  for (const { at, bytes } of parts) writeSync(descriptor, bytes, 0, bytes.length, at);
  ftruncateSync(descriptor, size);
  closeSync(descriptor);
  return file;
}
