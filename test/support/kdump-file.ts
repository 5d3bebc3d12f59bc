/** One page of a kdump file, packed by whatever the flag says. */
export interface KdumpPage {
  readonly physical: number;
  readonly flag: number;
  readonly packed: Uint8Array;
}

const BLOCK = 4096;
const DESCRIPTOR = 24;

/**
 * A kdump-compressed file, version 6, of some pages in order of address. The layout is that of files which QEMU 7.2
 * wrote; see src/formats/kdump.ts.
 */
export function buildKdump(
  pages: readonly KdumpPage[],
  notes = new Uint8Array(0),
  machine = "x86_64",
): Uint8Array {
  const frames = Math.max(0, ...pages.map(({ physical }) => physical / BLOCK)) + 1;
  const bitmapBlocks = Math.ceil(frames / 8 / BLOCK);
  const bitmapAt = 2 * BLOCK;
  const descriptorsAt = bitmapAt + 2 * bitmapBlocks * BLOCK;
  const notesAt = BLOCK + 104;
  let end = descriptorsAt + pages.length * DESCRIPTOR;
  const file = new Uint8Array(end + pages.reduce((sum, { packed }) => sum + packed.length, 0));
  const view = new DataView(file.buffer);
  file.set(Buffer.from("KDUMP   "));
  view.setInt32(8, 6, true);
  file.set(Buffer.from(machine), 12 + 4 * 65);
  for (const [at, value] of [
    [428, BLOCK],
    [432, 1],
    [436, 2 * bitmapBlocks],
    [440, frames],
    [BLOCK + 8, 1],
  ] as const) {
    view.setUint32(at, value, true);
  }
  view.setBigUint64(BLOCK + 48, BigInt(notesAt), true);
  view.setBigUint64(BLOCK + 56, BigInt(notes.length), true);
  view.setBigUint64(BLOCK + 96, BigInt(frames), true);
  file.set(notes, notesAt);
  for (const [index, { physical, flag, packed }] of pages.entries()) {
    const pfn = physical / BLOCK;
    for (const bitmap of [0, 1]) {
      file[bitmapAt + bitmap * bitmapBlocks * BLOCK + Math.floor(pfn / 8)]! |= 1 << (pfn % 8);
    }
    const at = descriptorsAt + index * DESCRIPTOR;
    view.setBigInt64(at, BigInt(end), true);
    view.setUint32(at + 8, packed.length, true);
    view.setUint32(at + 12, flag, true);
    file.set(packed, end);
    end += packed.length;
  }
  return file;
}

/** The same file as records of a stream, in the given order of pieces: [offset, bytes]. */
export function flatten(records: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const head = new Uint8Array(BLOCK);
  head.set(Buffer.from("makedumpfile"));
  new DataView(head.buffer).setBigInt64(16, 1n);
  new DataView(head.buffer).setBigInt64(24, 1n);
  const parts: Uint8Array[] = [head];
  const header = (offset: bigint, size: bigint): void => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setBigInt64(0, offset);
    new DataView(bytes.buffer).setBigInt64(8, size);
    parts.push(bytes);
  };
  for (const [offset, bytes] of records) {
    header(BigInt(offset), BigInt(bytes.length));
    parts.push(bytes);
  }
  header(-1n, -1n);
  return Uint8Array.from(Buffer.concat(parts));
}
