import {
  closeSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { FormatError } from "./format-error.ts";

/** Longest piece written at once, in characters. */
const CHUNK = 2 ** 16;
/** Permissions of a new file, before the umask. */
const NEW_MODE = 0o666;
const MODE_BITS = 0o777;
/** What ends a process that does not listen. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * A file that is written as a whole: beside its place first, so that nothing is ever half written there, and nothing is
 * left beside it when the process ends early. What is no regular file (a device, a pipe) is written to as it stands.
 */
export class WholeFile {
  readonly #name: string;
  readonly #file: string;
  /** Where it grows; null when it grows in its place. */
  readonly #beside: string | null;
  readonly #descriptor: number;
  #text = "";
  #open = true;
  readonly #ended = (): void => this.discard();
  readonly #interrupted = (signal: NodeJS.Signals): void => {
    this.discard();
    process.kill(process.pid, signal);
  };

  /** Throws FormatError where nothing can be written. */
  constructor(file: string) {
    this.#name = file;
    const there = this.#guarded(() => statSync(file, { throwIfNoEntry: false }));
    this.#file = there === undefined ? file : this.#guarded(() => realpathSync(file));
    this.#beside = there === undefined || there.isFile() ? `${this.#file}.${process.pid}.part` : null;
    const mode = there === undefined ? NEW_MODE : there.mode & MODE_BITS;
    this.#descriptor = this.#guarded(() =>
      this.#beside === null ? openSync(this.#file, "w") : openSync(this.#beside, "wx", mode),
    );
    process.once("exit", this.#ended);
    for (const signal of SIGNALS) process.once(signal, this.#interrupted);
  }

  write(text: string): void {
    this.#text += text;
    if (this.#text.length >= CHUNK) this.#flush();
  }

  /** Puts the file into its place. */
  commit(): void {
    this.#flush();
    const beside = this.#beside;
    if (beside !== null) {
      // Some file systems say only here that there is no room.
      this.#guarded(() => fsyncSync(this.#descriptor));
      this.#guarded(() => renameSync(beside, this.#file));
    }
    this.#close();
  }

  /** Leaves nothing; not after {@link commit}. */
  discard(): void {
    if (!this.#open) return;
    this.#close();
    if (this.#beside !== null) rmSync(this.#beside, { force: true });
  }

  #flush(): void {
    const text = this.#text;
    this.#text = "";
    if (text !== "") this.#guarded(() => writeFileSync(this.#descriptor, text));
  }

  #close(): void {
    this.#open = false;
    process.off("exit", this.#ended);
    for (const signal of SIGNALS) process.off(signal, this.#interrupted);
    closeSync(this.#descriptor);
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? String(error);
      throw new FormatError(this.#name, null, `a place to write to (${why})`);
    }
  }
}
