import { FormatError } from "./format-error.ts";

/** 2^32, to put two words together. A shift would cut at 32 bits. */
const WORD = 2 ** 32;
const PAGE_MASK = 0xfff;

/**
 * Little-endian reads that cannot leave the bytes: past the end is a FormatError that says what should have
 * stood there. `base` is the offset of the first byte in the file, so that errors name the file's own offsets.
 */
export class ByteView {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly base: number;
  readonly #view: DataView;

  constructor(file: string, bytes: Uint8Array, base = 0) {
    this.file = file;
    this.bytes = bytes;
    this.base = base;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(at: number, what: string): number {
    this.require(at, 1, what);
    return this.#view.getUint8(at);
  }

  u16(at: number, what: string): number {
    this.require(at, 2, what);
    return this.#view.getUint16(at, true);
  }

  u32(at: number, what: string): number {
    this.require(at, 4, what);
    return this.#view.getUint32(at, true);
  }

  /** A 64-bit count, size or offset. Above 2^53-1 no file can mean it, and a Number could not hold it. */
  u64(at: number, what: string): number {
    this.require(at, 8, what);
    const value = this.#wide(at);
    if (value > Number.MAX_SAFE_INTEGER) {
      throw this.error(at, `${what} below 2^53, found 0x${this.bigU64(at, what).toString(16)}`);
    }
    return value;
  }

  /** A page-aligned 64-bit address: at most 52 significant bits, so exact as a Number. */
  pageAddress(at: number, what: string): number {
    this.require(at, 8, what);
    if ((this.#view.getUint32(at, true) & PAGE_MASK) !== 0) {
      throw this.error(at, `${what}, page-aligned, found 0x${this.bigU64(at, what).toString(16)}`);
    }
    return this.#wide(at);
  }

  /** All 64 bits. */
  bigU64(at: number, what: string): bigint {
    this.require(at, 8, what);
    return this.#view.getBigUint64(at, true);
  }

  /** The bytes at [at, at + length), not copied. */
  slice(at: number, length: number, what: string): Uint8Array {
    this.require(at, length, what);
    return this.bytes.subarray(at, at + length);
  }

  /** Throws FormatError unless [at, at + length) lies inside the bytes. */
  require(at: number, length: number, what: string): void {
    if (at < 0 || length < 0 || at + length > this.bytes.length) {
      const end = this.base + this.bytes.length;
      throw this.error(at, `${what} (${length} bytes), found the end at 0x${end.toString(16)}`);
    }
  }

  error(at: number, expected: string): FormatError {
    return new FormatError(this.file, this.base + at, expected);
  }

  #wide(at: number): number {
    return this.#view.getUint32(at + 4, true) * WORD + this.#view.getUint32(at, true);
  }
}
