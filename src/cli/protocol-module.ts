import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { FormatError, quote } from "../formats/format-error.ts";
import type { NotifierProtocol } from "../mm/mm_types.ts";
import { NOTIFIER_PROTOCOLS, notifierProtocol } from "../mm/notifier-protocol.ts";
import { ownProtocol } from "../mm/own-protocol.ts";
import * as linux from "../package/linux.ts";
import { UsageError } from "./command.ts";

/** Whether a name is that of a module: it has a slash, or ends as one. */
function isModule(name: string): boolean {
  return name.includes("/") || /\.[cm]?[jt]s$/.test(name);
}

/**
 * A notifier protocol by name, or from a module: its default export, or one called `protocol`, is the protocol or a
 * function that makes one of what "ptescope/linux" exports. Throws UsageError for an unknown name, FormatError for a
 * module that cannot be used.
 */
export async function loadProtocol(name: string): Promise<NotifierProtocol> {
  if (isModule(name)) return importProtocol(name);
  if (name !== "a1" && !NOTIFIER_PROTOCOLS.some((protocol) => protocol.name === name)) {
    throw new UsageError(
      `--protocol ${quote(name)}: give one of a0, a1 (= c), c, b, d, e1, all, or a module such as ./mine.mjs`,
    );
  }
  return notifierProtocol(name);
}

async function importProtocol(path: string): Promise<NotifierProtocol> {
  const file = resolve(path);
  if (!existsSync(file)) throw new FormatError(path, null, "a module that exports a notifier protocol");
  try {
    const module = (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>;
    const exported = module.default ?? module.protocol;
    const value: unknown = typeof exported === "function" ? exported(linux) : exported;
    return ownProtocol(value, basename(file).replace(/\.[cm]?[jt]s$/, ""));
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0]! : String(error);
    throw new FormatError(path, null, `a module that exports a notifier protocol: ${why}`);
  }
}
