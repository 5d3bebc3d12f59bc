import { closeSync, constants, openSync, readSync, type Stats } from "node:fs";

/** Bytes of a block as a file's `blocks` count them (POSIX <sys/stat.h>, as Linux has it). */
const BLOCK_SIZE = 512;

/** The part of WebAssembly that is used here: it is no part of the language's own types. */
declare const WebAssembly: {
  Memory: new (pages: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
};
const WASM_PAGE_SIZE = 2 ** 16;

/** Room for bytes that a direct read can fill: it begins at a page of memory, as other arrays need not. */
export function directBuffer(length: number): Uint8Array {
  const pages = Math.ceil(length / WASM_PAGE_SIZE);
  return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer, 0, length);
}

/**
 * Reads a sparse file past the cache of the operating system: it would fill that with zeros for every hole, and node
 * cannot ask where the holes are. Where this is not possible (another system or file system, an offset that is not a
 * multiple of the disk's blocks) {@link read} says so, and nothing is lost.
 */
export class DirectReader {
  readonly #file: string;
  #descriptor: number | null = null;
  #works: boolean;

  constructor(file: string, stats: Stats) {
    this.#file = file;
    this.#works = constants.O_DIRECT !== undefined && stats.blocks * BLOCK_SIZE < stats.size;
  }

  /** Fills all of the array with the bytes at an offset; false when it could not. */
  read(offset: number, bytes: Uint8Array): boolean {
    if (!this.#works) return false;
    try {
      this.#descriptor ??= openSync(this.#file, constants.O_RDONLY | constants.O_DIRECT);
      return readSync(this.#descriptor, bytes, 0, bytes.length, offset) === bytes.length;
    } catch {
      this.#works = false;
      return false;
    }
  }

  close(): void {
    if (this.#descriptor !== null) closeSync(this.#descriptor);
    this.#descriptor = null;
    this.#works = false;
  }
}
