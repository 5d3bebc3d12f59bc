/** A stream that is no LZO1X, or that does not fit. */
export class Lzo1xError extends Error {
  constructor() {
    super("a complete LZO1X stream");
    this.name = "Lzo1xError";
  }
}

/** Copies between literals and matches: the classes of instructions by their first byte. */
const MATCH_M2 = 64;
const MATCH_M3 = 32;
const MATCH_M4 = 16;
/** Farthest distances, plus one where the format has it. */
const M2_DISTANCE = 0x800;
const M4_DISTANCE = 0x4000;

/**
 * Decompresses an LZO1X stream, whichever compressor of that family wrote it. An instruction is a byte:
 *
 *     0000LLLL           3 + L literals, or, behind one to three literals, a match of 2 in the last 1 KiB (behind four
 *                        and more: of 3, 2 KiB further back)
 *     0001HLLL           a match of 2 + L, 16 KiB to 48 KiB back; distance 16 KiB ends the stream
 *     001LLLLL           a match of 2 + L in the last 16 KiB
 *     01LDDDSS, 1LLDDDSS a match of 3 to 8 in the last 2 KiB
 *
 * A length of zero goes on in the bytes behind: 255 for each zero byte, and the first other one. The low two bits of
 * what comes last before the copy are the number of literals behind it. Returns exactly `size` bytes. Throws Lzo1xError.
 */
export function lzo1xDecompress(input: Uint8Array, size: number): Uint8Array {
  const output = new Uint8Array(size);
  let at = 0;
  let end = 0;
  const byte = (): number => {
    if (at >= input.length) throw new Lzo1xError();
    return input[at++]!;
  };
  const long = (base: number): number => {
    let length = base;
    for (;;) {
      const more = byte();
      if (more !== 0) return length + more;
      length += 255;
      if (length > size + base) throw new Lzo1xError();
    }
  };
  const literals = (count: number): void => {
    if (at + count > input.length || end + count > size) throw new Lzo1xError();
    output.set(input.subarray(at, at + count), end);
    at += count;
    end += count;
  };
  const match = (distance: number, length: number): void => {
    if (distance > end || end + length > size) throw new Lzo1xError();
    // Byte by byte: a match may run into what it writes.
    for (let i = 0; i < length; i++, end++) output[end] = output[end - distance]!;
  };

  // Literals behind the last instruction: 0, 1 to 3, or 4 for "four and more".
  let behind = 0;
  const first = input[0] ?? 0;
  if (first > 17) {
    at = 1;
    literals(first - 17);
    behind = Math.min(4, first - 17);
  }
  for (;;) {
    const code = byte();
    let next = code & 3;
    if (code >= MATCH_M2) {
      const distance = 1 + ((code >> 2) & 7) + (byte() << 3);
      match(distance, (code >> 5) + 1);
    } else if (code >= MATCH_M4) {
      const near = code >= MATCH_M3;
      const mask = near ? 31 : 7;
      const length = ((code & mask) === 0 ? long(mask) : code & mask) + 2;
      const low = byte();
      const distance = (low >> 2) + (byte() << 6);
      next = low & 3;
      if (near) match(distance + 1, length);
      else {
        const far = distance + ((code & 8) << 11);
        if (far === 0) break;
        match(far + M4_DISTANCE, length);
      }
    } else if (behind === 0) {
      literals((code === 0 ? long(15) : code) + 3);
      behind = 4;
      continue;
    } else {
      const distance = 1 + (code >> 2) + (byte() << 2);
      if (behind === 4) match(distance + M2_DISTANCE, 3);
      else match(distance, 2);
    }
    literals(next);
    behind = next;
  }
  if (end !== size) throw new Lzo1xError();
  return output;
}
