import { Misfit } from "./misfit.ts";

const MOST = Number.MAX_SAFE_INTEGER;

/** Bytes to be read from the front, as {@link ByteOutput} writes them. Throws Misfit where they end. */
export class ByteInput {
  lo = 0;
  hi = 0;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;

  /** Reads these from now on. */
  open(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  byte(): number {
    if (this.#at >= this.#end) throw new Misfit("more bytes in a record");
    return this.#bytes[this.#at++]!;
  }

  whole(): number {
    const first = this.byte();
    return first < 0x80 ? first : this.#rest(first & 0x7f);
  }

  #rest(start: number): number {
    let value = start;
    let scale = 128;
    for (let byte = 0x80; byte >= 0x80; scale *= 128) {
      byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > MOST || scale > MOST) throw new Misfit("numbers below 2^53");
    }
    return value;
  }

  signed(): number {
    const first = this.byte();
    let size = (first >> 1) & 0x3f;
    if (first >= 0x80) size += 64 * this.whole();
    if (size > MOST) throw new Misfit("numbers below 2^53");
    return (first & 1) === 0 ? size : -size;
  }

  /** 64 bits, which stand in {@link lo} and {@link hi} until the next are read. */
  words(): void {
    const mask = this.byte();
    let lo = 0;
    let hi = 0;
    for (let i = 0; i < 4; i++) if ((mask & (1 << i)) !== 0) lo |= this.byte() << (8 * i);
    for (let i = 0; i < 4; i++) if ((mask & (16 << i)) !== 0) hi |= this.byte() << (8 * i);
    this.lo = lo;
    this.hi = hi;
  }

  /** A length, then so many bytes; a view. */
  block(): Uint8Array {
    const length = this.whole();
    if (length > this.left) throw new Misfit(`${length} bytes more in a record`);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}
