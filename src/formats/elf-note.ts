import { ByteView } from "./byte-view.ts";
import { CPU_NOTE_NAME, CPU_NOTE_TYPE, type CpuRegisters, readCpuNote } from "./cpu-note.ts";
import { FormatError, quote } from "./format-error.ts";
import { type JsonObject, parseJsonObject } from "./json-fields.ts";

/** Note of our reduced cores: everything that page tables alone do not say. */
const PTIMAGE_NAME = "PTIMAGE\0";
const PTIMAGE_TYPE = 1;
/** namesz, descsz, type: three words before the name (gABI, "Note Section"). */
const NOTE_HEADER_SIZE = 12;
const NOTE_ALIGN = 4;

/** Most processes that a note or a manifest may list. */
export const MAX_PROCESSES = 4096;
/** Names of processes are ours: they also name files, so only letters, digits and . _ - */
export const PROCESS_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** A control register fits 53 bits: the high half of CR0, CR4 and EFER is reserved (SDM vol. 3, 2.5). */
const MAX_CONTROL_REGISTER = Number.MAX_SAFE_INTEGER;
/** CR3 holds a physical address of at most 52 bits; its upper bits read as zero. */
export const MAX_CR3 = 2 ** 52 - 1;

/** Without these bits there are no 4- or 5-level tables to read (SDM vol. 3, 4.1.1). */
const LONG_MODE_BITS = [
  { register: "cr0", bit: 31, name: "PG" },
  { register: "cr4", bit: 5, name: "PAE" },
  { register: "efer", bit: 10, name: "LMA" },
] as const;
const CR4_LA57_BIT = 12;

/** The control registers that decide what page tables mean. */
export interface PagingState {
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: number;
  readonly levels: 4 | 5;
}

/** The paging state, and the root of every process by name. */
export interface PtImageNote extends PagingState {
  /** CR3 as it was read, low 12 bits included. */
  readonly cr3: ReadonlyMap<string, number>;
}

/** One note of a PT_NOTE segment. */
interface ElfNote {
  /** Offset of its header in the segment. */
  readonly at: number;
  /** With the zero that ends it. */
  readonly name: string;
  readonly type: number;
  readonly descriptionAt: number;
  readonly description: Uint8Array;
}

/**
 * The PTIMAGE note among the notes of one PT_NOTE segment, or null. Notes of other names (CORE's prstatus) are stepped
 * over. Throws FormatError.
 */
export function readPtImageNote(file: string, bytes: Uint8Array, fileOffset: number): PtImageNote | null {
  const view = new ByteView(file, bytes, fileOffset);
  let found: PtImageNote | null = null;
  for (const { at, name, type, descriptionAt, description } of notesOf(view)) {
    if (type !== PTIMAGE_TYPE || name !== PTIMAGE_NAME) continue;
    if (found !== null) throw view.error(at, "one PTIMAGE note, found a second");
    found = parsePtImage(parseJsonObject(file, fileOffset + descriptionAt, description));
  }
  return found;
}

/** The logical CPUs of QEMU's notes in one PT_NOTE segment, in their order. Throws FormatError. */
export function readCpuNotes(file: string, bytes: Uint8Array, fileOffset: number): CpuRegisters[] {
  const view = new ByteView(file, bytes, fileOffset);
  const found: CpuRegisters[] = [];
  for (const { name, type, descriptionAt, description } of notesOf(view)) {
    if (type !== CPU_NOTE_TYPE || name !== CPU_NOTE_NAME) continue;
    const cpu = readCpuNote(new ByteView(file, description, fileOffset + descriptionAt));
    if (cpu !== null) found.push(cpu);
  }
  return found;
}

function* notesOf(view: ByteView): Generator<ElfNote> {
  for (let at = 0; at < view.length; ) {
    const nameSize = view.u32(at, "the name size of a note");
    const descriptionSize = view.u32(at + 4, "the description size of a note");
    const type = view.u32(at + 8, "the type of a note");
    const nameAt = at + NOTE_HEADER_SIZE;
    const name = Buffer.from(view.slice(nameAt, nameSize, "the name of a note")).toString("latin1");
    const descriptionAt = nameAt + align(nameSize);
    const description = view.slice(descriptionAt, descriptionSize, "the description of a note");
    yield { at, name, type, descriptionAt, description };
    at = descriptionAt + align(descriptionSize);
  }
}

function parsePtImage(json: JsonObject): PtImageNote {
  return { ...readPagingState(json), cr3: readCr3Map(json.object("cr3")) };
}

/** The fields `cr0`, `cr4`, `efer` and `levels`: those of a CPU in long mode, and `levels` as CR4.LA57 says. */
export function readPagingState(json: JsonObject): PagingState {
  const state: PagingState = {
    cr0: json.hex("cr0", MAX_CONTROL_REGISTER),
    cr4: json.hex("cr4", MAX_CONTROL_REGISTER),
    efer: json.hex("efer", MAX_CONTROL_REGISTER),
    levels: json.integer("levels", 4, 5) === 4 ? 4 : 5,
  };
  for (const { register, bit, name } of LONG_MODE_BITS) {
    if (!isBitSet(state[register], bit)) {
      throw json.error(`${register} with bit ${bit} (${name}) set, as long mode has it`);
    }
  }
  const wanted = isBitSet(state.cr4, CR4_LA57_BIT) ? 5 : 4;
  if (state.levels !== wanted) throw json.error(`levels to be ${wanted} as bit 12 (LA57) of cr4 says`);
  return state;
}

/** Whether a bit of a register that may be wider than 32 bits is set. */
export function isBitSet(value: number, bit: number): boolean {
  return Math.floor(value / 2 ** bit) % 2 === 1;
}

function readCr3Map(json: JsonObject): ReadonlyMap<string, number> {
  const names = json.names();
  requireProcessNames(json, names);
  return new Map(names.map((name) => [name, json.hex(name, MAX_CR3)]));
}

/** Throws FormatError unless there is a sane number of processes with sane names. */
export function requireProcessNames(json: JsonObject, names: readonly string[]): void {
  if (names.length < 1 || names.length > MAX_PROCESSES) {
    throw json.error(`1 to ${MAX_PROCESSES} processes in ${json.path}, found ${names.length}`);
  }
  for (const name of names) {
    if (!PROCESS_NAME.test(name)) {
      throw new FormatError(
        json.file,
        json.offset,
        `names of letters, digits and . _ - in ${json.path}, found ${quote(name)}`,
      );
    }
  }
}

function align(size: number): number {
  return Math.ceil(size / NOTE_ALIGN) * NOTE_ALIGN;
}
