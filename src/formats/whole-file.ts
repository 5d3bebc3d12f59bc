import { closeSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { FormatError } from "./format-error.ts";

/** Longest piece written at once, in characters. */
const CHUNK = 2 ** 16;

/** A file that is written as a whole: beside its place first, so that nothing is ever half written there. */
export class WholeFile {
  readonly #file: string;
  readonly #beside: string;
  readonly #descriptor: number;
  #text = "";
  #open = true;

  /** Throws FormatError where nothing can be written. */
  constructor(file: string) {
    this.#file = file;
    this.#beside = `${file}.${process.pid}.part`;
    this.#descriptor = this.#guarded(() => openSync(this.#beside, "w"));
  }

  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= CHUNK) this.#flush();
  }

  /** Puts the file into its place. */
  commit(): void {
    this.#flush();
    this.#close();
    try {
      this.#guarded(() => renameSync(this.#beside, this.#file));
    } finally {
      rmSync(this.#beside, { force: true });
    }
  }

  /** Leaves nothing; not after {@link commit}. */
  discard(): void {
    if (!this.#open) return;
    this.#close();
    rmSync(this.#beside, { force: true });
  }

  #flush(): void {
    const text = this.#text;
    this.#text = "";
    this.#guarded(() => writeFileSync(this.#descriptor, text));
  }

  #close(): void {
    this.#open = false;
    closeSync(this.#descriptor);
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new FormatError(this.#file, null, `a place to write to (${why})`);
    }
  }
}
