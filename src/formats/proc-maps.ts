import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { FormatError, quote } from "./format-error.ts";

/** Most mappings of one process: the kernel's default limit is 65,530 (vm.max_map_count). */
export const MAX_VMAS = 2 ** 20;
/** End of user space by levels of the tables: the lower half of 48 or 57 bits of linear address. */
const USER_END = { 4: 2 ** 47, 5: 2 ** 56 };
const VSYSCALL = "[vsyscall]";

/**
 * One line of /proc/PID/maps (proc(5)). Addresses and the offset are byte values, page-aligned, so they are exact
 * Numbers even beyond 2^53.
 */
export interface MapsVma {
  readonly start: number;
  /** First address behind the mapping. */
  readonly end: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly exec: boolean;
  /** The fourth letter is "s": MAP_SHARED, even when the file allows no writing. */
  readonly shared: boolean;
  /** Byte offset into the file; 0 for anonymous memory. */
  readonly offset: number;
  /** "major:minor" in hexadecimal, as printed. */
  readonly device: string;
  /** 0 for anonymous memory. */
  readonly inode: number;
  /** The path, or [heap], [stack], ...; "" for anonymous memory. May end in " (deleted)". */
  readonly name: string;
}

/** The same with the VmFlags of smaps. */
export interface GuestVma extends MapsVma {
  /** Two-letter codes in the kernel's order, "??" for a flag without one. */
  readonly vmFlags: readonly string[];
}

interface Line {
  readonly text: string;
  readonly number: number;
  readonly offset: number;
}

interface MapsLine {
  readonly line: Line;
  readonly vma: MapsVma;
}

const MAPS_LINE =
  /^([0-9a-f]{8,16})-([0-9a-f]{8,16}) ([r-])([w-])([x-])([sp]) ([0-9a-f]{8,16}) ([0-9a-f]{2,3}:[0-9a-f]{2,5}) (\d{1,20})(?: +(.*))?$/s;
const FIELD_LINE = /^([A-Za-z_]+):(.*)$/s;

/**
 * The mappings of one process in address order, from its maps and smaps. The two must describe the same
 * mappings, and every mapping of smaps must have VmFlags. [vsyscall], which is the kernel's page and no vma,
 * is left out. Throws FormatError with the line number.
 */
export function readProcMaps(
  mapsFile: string,
  maps: Uint8Array,
  smapsFile: string,
  smaps: Uint8Array,
  levels: 4 | 5,
): GuestVma[] {
  const mapped = readMaps(mapsFile, maps, USER_END[levels]);
  const flags = readSmaps(smapsFile, smaps, mapped);
  return mapped
    .map(({ vma }, index) => ({ ...vma, vmFlags: flags[index]! }))
    .filter(({ name }) => name !== VSYSCALL);
}

/** The mappings of one process from its maps alone, [vsyscall] included. Throws FormatError with the line number. */
export function readProcMapsAlone(file: string, bytes: Uint8Array, levels: 4 | 5): MapsVma[] {
  return readMaps(file, bytes, USER_END[levels]).map(({ vma }) => vma);
}

function readMaps(file: string, bytes: Uint8Array, userEnd: number): MapsLine[] {
  const found: MapsLine[] = [];
  let end = 0;
  for (const line of linesOf(file, bytes)) {
    if (found.length >= MAX_VMAS) throw bad(file, line, `at most ${MAX_VMAS} mappings`);
    const vma = parseMapsLine(file, line);
    if (vma.end > userEnd && vma.name !== VSYSCALL) {
      throw bad(file, line, `an end of at most 0x${userEnd.toString(16)}`);
    }
    if (vma.start < end) throw bad(file, line, "mappings in address order that do not overlap");
    end = vma.end;
    found.push({ line, vma });
  }
  return found;
}

function parseMapsLine(file: string, line: Line): MapsVma {
  const match = MAPS_LINE.exec(line.text);
  if (match === null) {
    throw bad(file, line, `"start-end rwxp offset major:minor inode name", found ${quote(line.text)}`);
  }
  const [, start, end, read, write, exec, share, offset, device, inode, name] = match;
  const vma = {
    start: Number(`0x${start}`),
    end: Number(`0x${end}`),
    read: read === "r",
    write: write === "w",
    exec: exec === "x",
    shared: share === "s",
    offset: Number(`0x${offset}`),
    device: device ?? "",
    inode: Number(inode),
    name: Buffer.from(name ?? "", "latin1").toString("utf8"),
  };
  if (vma.start % PAGE_SIZE !== 0 || vma.end % PAGE_SIZE !== 0 || vma.offset % PAGE_SIZE !== 0) {
    throw bad(file, line, "a page-aligned start, end and offset");
  }
  if (vma.start >= vma.end) throw bad(file, line, "a start below the end");
  if (vma.inode > Number.MAX_SAFE_INTEGER) throw bad(file, line, "an inode number below 2^53");
  return vma;
}

/** The VmFlags of each mapping, in the order of maps. */
function readSmaps(file: string, bytes: Uint8Array, mapped: readonly MapsLine[]): (readonly string[])[] {
  const flags: (readonly string[])[] = [];
  /** Mappings whose first line has been seen. */
  let opened = 0;
  for (const line of linesOf(file, bytes)) {
    const field = FIELD_LINE.exec(line.text);
    if (field === null) {
      if (flags.length !== opened) throw bad(file, line, "VmFlags before the next mapping");
      checkSameMapping(file, line, mapped[opened]);
      opened++;
    } else if (opened === 0) {
      throw bad(file, line, "a mapping before its fields");
    } else if (field[1] === "VmFlags") {
      if (flags.length === opened) throw bad(file, line, "VmFlags once in a mapping");
      flags.push(parseVmFlags(file, line, field[2] ?? ""));
    }
  }
  if (flags.length !== mapped.length) {
    const place = { text: "", number: 0, offset: bytes.length };
    throw bad(file, place, `the ${mapped.length} mappings of maps with VmFlags, found ${flags.length}`);
  }
  return flags;
}

/** maps and smaps print a mapping with the same function, so the lines are equal to the letter. */
function checkSameMapping(file: string, line: Line, mapping: MapsLine | undefined): void {
  if (mapping === undefined) {
    throw bad(file, line, `no mapping behind the last of maps, found ${quote(line.text)}`);
  }
  if (mapping.line.text.trimEnd() !== line.text.trimEnd()) {
    const wanted = `${quote(mapping.line.text)} as in line ${mapping.line.number} of maps`;
    throw bad(file, line, `${wanted}, found ${quote(line.text)}`);
  }
}

function parseVmFlags(file: string, line: Line, text: string): readonly string[] {
  const codes = text.split(" ").filter((code) => code !== "");
  for (const code of codes) {
    if (!/^[a-z?]{2}$/.test(code)) throw bad(file, line, `two-letter VmFlags, found ${quote(code)}`);
  }
  return codes;
}

/** The lines of a text that ends in a newline. Characters are bytes, so that positions are file offsets. */
function* linesOf(file: string, bytes: Uint8Array): Generator<Line> {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  let offset = 0;
  let number = 1;
  while (offset < text.length) {
    const end = text.indexOf("\n", offset);
    if (end < 0) {
      throw bad(file, { text: "", number, offset: text.length }, "a newline at the end of the last line");
    }
    yield { text: text.slice(offset, end), number, offset };
    offset = end + 1;
    number++;
  }
}

function bad(file: string, line: Line, expected: string): FormatError {
  return new FormatError(
    file,
    line.offset,
    line.number === 0 ? expected : `line ${line.number}: ${expected}`,
  );
}
