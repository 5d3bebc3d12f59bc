import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { FormatError, quote } from "../formats/format-error.ts";
import { ProtocolError } from "../mm/own-protocol.ts";
import { type Command, helpOf, UsageError } from "./command.ts";
import type { Terminal } from "./output.ts";
import { OutputError } from "./output-error.ts";

/** Exit statuses: 1 is for findings and comes from commands. */
const USAGE = 2;
/** EX_SOFTWARE of sysexits.h: our fault, not the caller's. */
const INTERNAL = 70;

/** Every command by name; a module is loaded when its command is asked for. */
export const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  audit: async () => (await import("./audit.ts")).auditCommand,
  ps: async () => (await import("./ps.ts")).psCommand,
  dump: async () => (await import("./dump.ts")).dumpCommand,
  walk: async () => (await import("./walk.ts")).walkCommand,
  decode: async () => (await import("./decode.ts")).decodeCommand,
  roots: async () => (await import("./roots.ts")).rootsCommand,
  explain: async () => (await import("./explain.ts")).explainCommand,
  conform: async () => (await import("./conform.ts")).conformCommand,
};

/**
 * Runs one command line (without node and the script) and returns its exit status. What a person got wrong, be it an
 * argument or a file, is one line on standard error and status 2.
 */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  try {
    if (name === undefined || name === "--help" || name === "-h" || name === "help") {
      return await help(rest[0], name === undefined, terminal);
    }
    if (name === "--version") {
      await terminal.write([version()]);
      return 0;
    }
    const command = await find(name);
    if (wantsHelp(rest)) {
      await terminal.write(helpOf(command));
      return 0;
    }
    return await command.run(rest, terminal);
  } catch (error) {
    return reportError(error, name, terminal);
  }
}

async function help(name: string | undefined, missing: boolean, terminal: Terminal): Promise<number> {
  if (name !== undefined && !name.startsWith("-")) {
    await terminal.write(helpOf(await find(name)));
    return 0;
  }
  const text = await overview();
  if (!missing) {
    await terminal.write(text);
    return 0;
  }
  throw new UsageError(`give a command: ${Object.keys(COMMANDS).join(", ")}; ptescope --help says more`);
}

async function overview(): Promise<string[]> {
  const commands = await Promise.all(Object.values(COMMANDS).map((load) => load()));
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    "ptescope: look into x86-64 page tables, and find stale translations",
    "",
    "  ptescope COMMAND [arguments]",
    "",
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    "  ptescope COMMAND --help   the options of a command",
    "  ptescope --version",
    "",
    "Exit status: 0 done, 1 findings, 2 a wrong argument, a malformed file, or output that cannot be written.",
  ];
}

async function find(name: string): Promise<Command> {
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    const kind = name.startsWith("-") ? "option" : "command";
    throw new UsageError(`unknown ${kind} ${quote(name)}: commands are ${Object.keys(COMMANDS).join(", ")}`);
  }
  return await load();
}

/** Everything behind "--" is an argument, even "--help". */
function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? args.length : end).some((arg) => arg === "--help" || arg === "-h");
}

/** Says in one line what ended a command, and returns the exit status. */
export function reportError(error: unknown, name: string | undefined, terminal: Terminal): number {
  terminal.progress("");
  const expected =
    error instanceof UsageError ||
    error instanceof OutputError ||
    error instanceof ProtocolError ||
    error instanceof FormatError ||
    error instanceof RangeError ||
    error instanceof TypeError;
  const prefix = name !== undefined && Object.hasOwn(COMMANDS, name) ? `ptescope ${name}` : "ptescope";
  if (expected) {
    terminal.warn(`${prefix}: ${oneLine(error.message)}`);
    return USAGE;
  }
  if (!isOurs(error)) {
    terminal.warn(`${prefix}: a module that was loaded threw: ${oneLine(String(error))}`);
    return USAGE;
  }
  terminal.warn(
    `ptescope: internal error, please report it: ${oneLine(`${String(error)} ${placeOf(error)}`)}`,
  );
  return INTERNAL;
}

/** Where an error was made: the first frame of its stack. */
function placeOf(error: unknown): string {
  return (error instanceof Error ? /^ +(at .*)$/m.exec(error.stack ?? "")?.[1] : undefined) ?? "";
}

/** Whether an error was made by this package. Modules of protocols may leave behind errors of any kind, or none. */
function isOurs(error: unknown): boolean {
  const here = fileURLToPath(new URL("..", import.meta.url));
  return placeOf(error).includes(here);
}

/** Messages may have been made for several lines. */
function oneLine(message: string): string {
  return message.replace(/\s*[\r\n]+\s*/g, " ");
}

/** From the package's own package.json: two directories up in the sources, three in dist. */
function version(): string {
  const places = ["../../package.json", "../../../package.json"].map(
    (place) => new URL(place, import.meta.url),
  );
  const file = places.find((place) => existsSync(place));
  if (file === undefined) throw new RangeError("package.json is missing: the installation is not complete");
  const { version: found } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  return found;
}
