import { closeSync, constants, openSync, readSync, type Stats } from "node:fs";

/** Bytes of a block as a file's `blocks` count them (POSIX <sys/stat.h>, as Linux has it). */
const BLOCK_SIZE = 512;

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
