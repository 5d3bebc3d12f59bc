/** One small fault put into a source file while its tests run. */
export interface Mutant {
  readonly name: string;
  /** The source file, from the project's root. */
  readonly file: string;
  /** Text that stands in the file exactly once, and what takes its place; or text that is put at its end. */
  readonly from: string | null;
  readonly to: string;
  /** Test files or folders, the likeliest to catch it first; the run of a mutant ends with the first failure. */
  readonly stages: readonly (readonly string[])[];
}

/** The source with the fault in it. Throws Error when the text is not there exactly once: then the list is out of date. */
export function mutate(source: string, { name, file, from, to }: Mutant): string {
  if (from === null) return `${source}\n${to}\n`;
  const parts = source.split(from);
  if (parts.length !== 2)
    throw new Error(`${name}: ${file} holds its text ${parts.length - 1} times, not once`);
  return parts.join(to);
}
