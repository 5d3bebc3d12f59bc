/** Codes of what befell the output, in words. */
const REASONS: Readonly<Record<string, string>> = {
  EPIPE: "its reader has closed it",
  ENOSPC: "no space is left",
  EFBIG: "the file may not grow further",
  EDQUOT: "the quota is used up",
};

/** Output that could not be written. One line on stderr, exit status 2: what was printed is not all there is. */
export class OutputError extends Error {
  constructor(what: string, cause: unknown) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    const reason = REASONS[code];
    super(`${what} cannot be written: ${reason === undefined ? code : `${reason} (${code})`}`);
    this.name = "OutputError";
  }
}
