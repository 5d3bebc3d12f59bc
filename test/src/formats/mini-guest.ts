import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { hex } from "../../../src/text/hex.ts";

export const MINI_MEMORY = 0x100000;

/** Where the two processes' tables stand: root, PDPT, PD, PT, one page after the other. */
export const MINI_ROOTS = { one: 0x10000, two: 0x20000 };
const TABLE_PAGES = 4;

export interface SegmentSpec {
  readonly physical: number;
  readonly bytes: Uint8Array;
  readonly memorySize?: number;
  readonly fileSize?: number;
}

/** An ELF core of the given segments, with `note` as its PTIMAGE note unless that is null. */
export function buildCore(segments: readonly SegmentSpec[], note: object | null): Uint8Array {
  const noteBytes = note === null ? new Uint8Array(0) : buildNote("PTIMAGE\0", 1, JSON.stringify(note));
  const headers = segments.length + 1;
  const noteAt = 64 + headers * 56;
  let at = Math.ceil((noteAt + noteBytes.length) / 4096) * 4096;
  const placed = segments.map((segment) => {
    const offset = at;
    at += Math.ceil(segment.bytes.length / 4096) * 4096;
    return { ...segment, offset };
  });
  const file = new Uint8Array(at);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 4, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, headers, true);
  const header = (index: number, type: number, fields: readonly number[]): void => {
    view.setUint32(64 + index * 56, type, true);
    for (const [field, value] of fields.entries()) {
      view.setBigUint64(64 + index * 56 + 8 + field * 8, BigInt(value), true);
    }
  };
  header(0, 4, [noteAt, 0, 0, noteBytes.length, noteBytes.length, 4]);
  file.set(noteBytes, noteAt);
  for (const [index, { offset, physical, bytes, fileSize, memorySize }] of placed.entries()) {
    const size = fileSize ?? bytes.length;
    header(index + 1, 1, [offset, 0, physical, size, memorySize ?? bytes.length, 4096]);
    file.set(bytes, offset);
  }
  return file;
}

export function buildNote(name: string, type: number, description: string): Uint8Array {
  const nameSize = Math.ceil(name.length / 4) * 4;
  const note = new Uint8Array(12 + nameSize + Math.ceil(description.length / 4) * 4);
  const view = new DataView(note.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  note.set(Buffer.from(name, "latin1"), 12);
  note.set(Buffer.from(description, "latin1"), 12 + nameSize);
  return note;
}

/** Four table pages at `root` that map a 4K page, a device page beyond memory, a 2M page, and themselves. */
export function buildTables(root: number): Uint8Array {
  const bytes = new Uint8Array(TABLE_PAGES * 4096);
  const words = new BigUint64Array(bytes.buffer);
  const page = (index: number): bigint => BigInt(root + index * 4096);
  words[0] = page(1) | 0x67n;
  words[511] = page(0) | 0x63n;
  words[512] = page(2) | 0x67n;
  words[1024 + 2] = page(3) | 0x67n;
  words[1024 + 3] = 0x1234_0020_0000n | 0xe7n;
  words[1536] = 0x80000n | 0x67n;
  words[1536 + 1] = 0xfd00_0000n | 0x277n;
  return bytes;
}

/** A ustar archive. `trailer` is what follows the last member. */
export function buildTar(
  members: ReadonlyMap<string, Uint8Array>,
  trailer = new Uint8Array(1024),
): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, bytes] of members) {
    parts.push(buildTarHeader(name, bytes.length), bytes, new Uint8Array(-bytes.length & 511));
  }
  return Uint8Array.from(Buffer.concat([...parts, trailer]));
}

export function buildTarHeader(name: string, size: number, type = "0"): Uint8Array {
  const header = Buffer.alloc(512);
  header.write(name, 0, "latin1");
  header.write("0000644\x000000000\x000000000\0", 100, "latin1");
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.write(`00000000000\0        ${type}`, 136, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return Uint8Array.from(header);
}

export const MINI_MAPS = [
  "00400000-00402000 r-xp 00000000 00:02 35                         /bin/mini\n",
  "00600000-00603000 rw-s 00002000 00:05 7                          /dev/zero (deleted)\n",
  "7ffff0000000-7ffff0001000 rw-p 00000000 00:00 0                  [stack]\n",
];

/** Everything a guest directory is made of, before it is packed. */
export interface MiniGuest {
  readonly core: Uint8Array;
  readonly manifest: Uint8Array;
  readonly members: ReadonlyMap<string, Uint8Array>;
}

/** Two processes with three mappings each, in 1 MiB of memory. */
export function buildMiniGuest(): MiniGuest {
  const cr3 = { one: hex(MINI_ROOTS.one), two: hex(MINI_ROOTS.two) };
  const registers = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4 };
  const manifest = {
    name: "mini",
    ...registers,
    guest_ram: MINI_MEMORY,
    pti: false,
    kernel: "6.1.0-56-amd64",
    swap_types: { swapfile: "0..", hwpoison: 26, migration: "27..29", pte_marker: 30, swapin_error: 31 },
    procs: { one: { pid: 11, cr3: cr3.one }, two: { pid: 12, cr3: cr3.two } },
  };
  const segments = Object.values(MINI_ROOTS).map((physical) => ({ physical, bytes: buildTables(physical) }));
  const members = new Map<string, Uint8Array>();
  for (const name of ["one", "two"]) {
    members.set(`pre/${name}.maps`, text(MINI_MAPS.join("")));
    members.set(`pre/${name}.smaps`, text(buildSmaps(MINI_MAPS)));
    members.set(`pre/${name}.pagemap`, buildPagemap());
  }
  members.set(
    "pre/SYS.kpagecount",
    frames(() => 1n),
  );
  members.set(
    "pre/SYS.kpageflags",
    frames((pfn) => BigInt(pfn) << 11n),
  );
  return {
    core: buildCore(segments, { ...registers, cr3 }),
    manifest: text(JSON.stringify(manifest, null, 1)),
    members,
  };
}

export function buildSmaps(maps: readonly string[]): string {
  return maps.map((line) => `${line}Rss:  8 kB\nTHPeligible:    0\nVmFlags: rd ex mr ?? sd \n`).join("");
}

/** A scratch directory with a guest in it; `write` replaces one of its files. */
export class GuestDirectory {
  readonly path = mkdtempSync(join(tmpdir(), "guest-"));

  write(name: string, bytes: Uint8Array): string {
    const file = join(this.path, name);
    writeFileSync(file, bytes);
    return file;
  }

  writeGuest(guest: MiniGuest): void {
    this.write("pt.elf.gz", gzipSync(guest.core));
    this.write("manifest.json", guest.manifest);
    this.write("proc.tar.gz", gzipSync(buildTar(guest.members)));
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

export function text(value: string): Uint8Array {
  return Uint8Array.from(Buffer.from(value, "latin1"));
}

function buildPagemap(): Uint8Array {
  const runs: [number, number][] = [
    [0x400000, 2],
    [0x600000, 3],
    [0x7ffff0000000, 1],
  ];
  const words = runs.flatMap(([start, pages]) => [
    BigInt(start),
    BigInt(pages),
    ...Array.from({ length: pages }, (_, page) => (1n << 63n) | BigInt(page)),
  ]);
  return new Uint8Array(BigUint64Array.from(words).buffer);
}

function frames(word: (pfn: number) => bigint): Uint8Array {
  const words = BigUint64Array.from({ length: MINI_MEMORY / 4096 }, (_, pfn) => word(pfn));
  return new Uint8Array(words.buffer);
}
