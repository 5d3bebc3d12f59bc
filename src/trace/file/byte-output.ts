const TWO_28 = 2 ** 28;

/** Bytes that grow: numbers of variable length, seven bits a byte, the lowest first. */
export class ByteOutput {
  length = 0;
  #bytes = new Uint8Array(4096);

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = value;
  }

  /** A whole number from 0 to 2^53-1. */
  whole(value: number): void {
    let rest = value;
    while (rest >= TWO_28) {
      this.byte((rest % 128) | 0x80);
      rest = Math.floor(rest / 128);
    }
    while (rest >= 0x80) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  /** A whole number of either sign: the first byte has the sign, six bits, and whether more follows. */
  signed(value: number): void {
    const sign = value < 0 ? 1 : 0;
    const size = value < 0 ? -value : value;
    const rest = Math.floor(size / 64);
    this.byte(((size % 64) << 1) | sign | (rest > 0 ? 0x80 : 0));
    if (rest > 0) this.whole(rest);
  }

  /** 64 bits as two words: which of the eight bytes are not 0, then those. */
  words(lo: number, hi: number): void {
    const at = this.length;
    this.byte(0);
    let mask = 0;
    for (let i = 0; i < 4; i++) {
      const byte = (lo >>> (8 * i)) & 0xff;
      if (byte === 0) continue;
      mask |= 1 << i;
      this.byte(byte);
    }
    for (let i = 0; i < 4; i++) {
      const byte = (hi >>> (8 * i)) & 0xff;
      if (byte === 0) continue;
      mask |= 16 << i;
      this.byte(byte);
    }
    this.#bytes[at] = mask;
  }

  /** Its length, then the bytes. */
  block(bytes: Uint8Array): void {
    this.whole(bytes.length);
    this.append(bytes);
  }

  append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** What is there, as a view that the next write may change. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }

  #grow(by: number): void {
    const bytes = new Uint8Array(Math.max(2 * this.#bytes.length, this.length + by));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }
}
