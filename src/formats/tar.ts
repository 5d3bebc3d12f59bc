import { ByteView } from "./byte-view.ts";
import { quote } from "./format-error.ts";

/** Most files in one archive. */
export const MAX_TAR_ENTRIES = 65_536;
const BLOCK = 512;
const SPACE = 0x20;

/** Fields of a ustar header block (POSIX.1-2017, pax, "ustar Interchange Format"). Offsets and bytes. */
const NAME = { at: 0, size: 100 };
const SIZE = { at: 124, size: 12 };
const CHECKSUM = { at: 148, size: 8 };
const TYPE = { at: 156, size: 1 };
const MAGIC = { at: 257, size: 8 };
const PREFIX = { at: 345, size: 155 };

const POSIX_MAGIC = "ustar\x0000";
/** GNU tar's own: the same header, except that the prefix field means something else. */
const GNU_MAGIC = "ustar  \0";

/**
 * The regular files of a tar archive, by name, as views into the archive's bytes. Directories are left out;
 * links, devices and extended headers are a FormatError, and so are a wrong checksum, a name that stands
 * twice, and an archive that ends before its two zero blocks.
 */
export function readTar(file: string, bytes: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const view = new ByteView(file, bytes);
  const members = new Map<string, Uint8Array>();
  let entries = 0;
  let at = 0;
  for (;;) {
    const header = view.slice(at, BLOCK, "a tar header or the two zero blocks of the end");
    if (isZero(header)) {
      const second = view.slice(at + BLOCK, BLOCK, "the second zero block of the end");
      if (!isZero(second)) throw view.error(at + BLOCK, "the second zero block of the end");
      return members;
    }
    entries++;
    if (entries > MAX_TAR_ENTRIES) throw view.error(at, `at most ${MAX_TAR_ENTRIES} members`);
    checkSum(view, at, header);
    const name = memberName(view, at);
    const size = octal(view, at + SIZE.at, SIZE.size, "the octal size of a member");
    const type = text(view, at + TYPE.at, TYPE.size);
    const content = view.slice(at + BLOCK, size, `the content of ${quote(name)}`);
    if (type === "0" || type === "") {
      if (members.has(name)) throw view.error(at, `each name once, found ${quote(name)} again`);
      members.set(name, content);
    } else if (type !== "5") {
      throw view.error(at + TYPE.at, `a regular file (0) or a directory (5), found ${quote(type)}`);
    }
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
}

/** The sum of all header bytes, with the checksum field itself taken as eight spaces. */
function checkSum(view: ByteView, at: number, header: Uint8Array): void {
  const stored = octal(view, at + CHECKSUM.at, CHECKSUM.size, "an octal tar checksum");
  let sum = SPACE * CHECKSUM.size;
  for (let index = 0; index < BLOCK; index++) {
    const inField = index >= CHECKSUM.at && index < CHECKSUM.at + CHECKSUM.size;
    if (!inField) sum += header[index]!;
  }
  if (sum !== stored) throw view.error(at + CHECKSUM.at, `the tar checksum ${sum}, found ${stored}`);
}

function memberName(view: ByteView, at: number): string {
  const magic = Buffer.from(view.slice(at + MAGIC.at, MAGIC.size, "the tar magic")).toString("latin1");
  if (magic !== POSIX_MAGIC && magic !== GNU_MAGIC) {
    throw view.error(at + MAGIC.at, `the magic "ustar", found ${quote(magic)}`);
  }
  const name = text(view, at + NAME.at, NAME.size);
  if (name === "") throw view.error(at + NAME.at, "the name of a member");
  const prefix = magic === POSIX_MAGIC ? text(view, at + PREFIX.at, PREFIX.size) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Characters up to the first NUL. */
function text(view: ByteView, at: number, size: number): string {
  const field = Buffer.from(view.slice(at, size, "a tar header")).toString("utf8");
  const end = field.indexOf("\0");
  return end < 0 ? field : field.slice(0, end);
}

function octal(view: ByteView, at: number, size: number, what: string): number {
  const digits = text(view, at, size).trim();
  if (!/^[0-7]{1,11}$/.test(digits)) throw view.error(at, `${what}, found ${quote(digits)}`);
  return Number.parseInt(digits, 8);
}

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}
