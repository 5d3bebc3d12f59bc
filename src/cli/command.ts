import { parseArgs } from "node:util";
import { quote } from "../formats/format-error.ts";
import type { Terminal } from "./output.ts";

/** One option of a command: a switch, or one that takes a value. */
export interface OptionSpec {
  /** Placeholder of the value in the help; a switch has none. */
  readonly value?: string;
  readonly help: string;
  /** May be given more than once, and every time counts; others may not. */
  readonly repeats?: boolean;
  /** One letter that says the same. */
  readonly short?: string;
}

/** What a person can type after `ptescope`. Help and parsing both derive from it. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** The arguments, without "ptescope NAME". */
  readonly usage: string;
  /** By name, without the dashes. `--help` is understood everywhere. */
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Lines below the options: what the output means, examples. */
  readonly notes?: readonly string[];
  /** Returns the exit status: 0, or 1 for findings. Throws UsageError and what the libraries throw. */
  run(args: readonly string[], terminal: Terminal): Promise<number>;
}

/** A command line that cannot be understood: one line on stderr, exit status 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/** The arguments of a command, taken apart. */
export class ParsedArguments {
  readonly positionals: readonly string[];
  readonly #values: ReadonlyMap<string, string | boolean | readonly string[]>;

  constructor(
    values: ReadonlyMap<string, string | boolean | readonly string[]>,
    positionals: readonly string[],
  ) {
    this.#values = values;
    this.positionals = positionals;
  }

  /** Whether a switch was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of an option, or undefined. */
  text(name: string): string | undefined {
    const value = this.#values.get(name);
    return typeof value === "string" ? value : undefined;
  }

  /** The values of an option that repeats, in their order. */
  all(name: string): readonly string[] {
    const values = this.#values.get(name);
    return typeof values === "object" ? values : [];
  }

  /** The value of an option that must be one of some words; the first is the default. Throws UsageError. */
  choice<T extends string>(name: string, words: readonly [T, ...T[]]): T {
    const value = this.text(name);
    if (value === undefined) return words[0];
    const found = words.find((word) => word === value);
    if (found === undefined)
      throw new UsageError(`--${name} ${quote(value)}: give one of ${words.join(", ")}`);
    return found;
  }
}

/** Takes the arguments apart as the command's options say. Throws UsageError that lists what exists. */
export function parseArguments(command: Command, args: readonly string[]): ParsedArguments {
  const names = Object.keys(command.options);
  const options = Object.fromEntries(
    Object.entries(command.options).map(([name, { value, short }]) => [
      name,
      {
        ...(value === undefined
          ? ({ type: "boolean" } as const)
          : ({ type: "string", multiple: true } as const)),
        ...(short === undefined ? {} : { short }),
      },
    ]),
  );
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args: [...args], options, strict: true, allowPositionals: true });
  } catch (error) {
    throw new UsageError(explain(error, names));
  }
  const values = Object.entries(parsed.values as Record<string, boolean | string[]>);
  return new ParsedArguments(
    new Map(values.map(([name, value]) => [name, single(command, name, value)])),
    parsed.positionals,
  );
}

/** The value of an option that is given once. Throws UsageError: neither the first nor the last of two is meant. */
function single(
  command: Command,
  name: string,
  value: boolean | readonly string[],
): string | boolean | readonly string[] {
  if (typeof value === "boolean" || command.options[name]?.repeats === true) return value;
  const [only = "", another] = value;
  if (another === undefined) return only;
  throw new UsageError(`--${name} is given twice, as ${quote(only)} and ${quote(another)}: give it once`);
}

/** Throws UsageError unless there are `least` to `most` positional arguments. */
export function requirePositionals(
  command: Command,
  parsed: ParsedArguments,
  least: number,
  most = least,
): readonly string[] {
  const { positionals } = parsed;
  if (positionals.length < least || positionals.length > most) {
    const problem =
      positionals.length < least
        ? "an argument is missing"
        : `unexpected argument ${quote(positionals[most] ?? "")}`;
    throw new UsageError(`${problem}; usage: ptescope ${command.name} ${command.usage}`);
  }
  return positionals;
}

/** The lines of the full help of a command. */
export function helpOf(command: Command): string[] {
  const flags = Object.entries(command.options).map(([name, { value, help, short }]) => ({
    flag: `${short === undefined ? "" : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`,
    help,
  }));
  const all = [...flags, { flag: "--help", help: "print this" }];
  const width = Math.max(...all.map(({ flag }) => flag.length));
  return [
    `ptescope ${command.name}: ${command.summary}`,
    "",
    `  ptescope ${command.name} ${command.usage}`,
    "",
    ...all.map(({ flag, help }) => `  ${flag.padEnd(width)}  ${help}`),
    ...(command.notes === undefined ? [] : ["", ...command.notes]),
  ];
}

function explain(error: unknown, names: readonly string[]): string {
  const message = error instanceof Error ? error.message : String(error);
  const unknown = /^Unknown option '(.*?)'/s.exec(message);
  const known = names.length === 0 ? "--help" : [...names, "help"].map((name) => `--${name}`).join(", ");
  if (unknown !== null) return `unknown option ${unknown[1]}: known are ${known}`;
  return message.split("\n")[0] ?? message;
}
