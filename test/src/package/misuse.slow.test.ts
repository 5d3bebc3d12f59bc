import { afterAll, describe, expect, test } from "vitest";
import * as audit from "../../../src/package/audit.ts";
import * as conform from "../../../src/package/conform.ts";
import * as cpu from "../../../src/package/cpu.ts";
import * as files from "../../../src/package/files.ts";
import * as inspect from "../../../src/package/inspect.ts";
import * as linux from "../../../src/package/linux.ts";
import { KNOWN_GOOD } from "./known-good-calls.ts";
import { KNOWN_GOOD_METHODS } from "./known-good-methods.ts";
import {
  ACCEPTED,
  BAD,
  type BadName,
  DEFAULT,
  WORDS as SYSTEM_WORDS,
  System,
  type Word,
} from "./misuse-words.ts";
import { FILE_WORDS, removeFiles } from "./misuse-words-files.ts";
import { TOOL_WORDS } from "./misuse-words-tools.ts";

/*
 * Misuse, generated from what the package exports: each argument of a known-good call in turn is replaced by each bad
 * value. The call must throw TypeError or RangeError that names the value, or be among those that are right, with why.
 */

const ENTRIES = { cpu, linux, audit, inspect, conform, files } as const;
const WORDS: Readonly<Record<string, Word>> = { ...SYSTEM_WORDS, ...TOOL_WORDS, ...FILE_WORDS };
type Callable = (...args: unknown[]) => unknown;
type Made = new (...args: unknown[]) => unknown;

afterAll(removeFiles);

/** An argument as it is written in the table: a word, and whether it may be left out or null. */
interface Written {
  readonly name: string;
  readonly word: Word;
  readonly optional: boolean;
}

function writtenOf(text: string): Written[] {
  return text
    .split(" ")
    .filter((each) => each !== "")
    .map((each) => {
      const name = each.replace(/\?|\|null/g, "");
      const word =
        name === "null" ? { make: () => null, owned: false, unaligned: null, legal: {} } : WORDS[name];
      if (word === undefined) throw new RangeError(`word "${name}": it is not declared`);
      return { name, word, optional: each.includes("?") };
    });
}

function isClass(value: unknown): value is Made {
  return typeof value === "function" && /^class\b/.test(Function.prototype.toString.call(value));
}

function functionsOf(entry: keyof typeof ENTRIES): [string, Callable][] {
  return Object.entries(ENTRIES[entry]).flatMap(([name, value]) => {
    if (typeof value !== "function") return [];
    const call: Callable = isClass(value) ? (...args) => new value(...args) : (value as Callable);
    return [[name, call]];
  });
}

/** Runs what a call returned to its end: threads, lists and promises. */
async function use(system: System, result: unknown): Promise<void> {
  if (typeof result !== "object" || result === null) return;
  if (result instanceof Promise) await result;
  else if ("throw" in result) system.kernel.run(result as linux.KernelThread<unknown>);
}

/** Another system, for arguments that belong to another kernel. */
const STRANGER = new System();

/** The bad values of an argument, by name. */
function badValues(written: readonly Written[], { word }: Written, good: unknown): [BadName, unknown][] {
  const bad = Object.entries(BAD) as [BadName, unknown][];
  if (word.unaligned !== null) bad.push(["unaligned", (good as number) + word.unaligned]);
  if (word.owned && written.filter((each) => each.word.owned).length > 1) {
    bad.push(["another kernel's", word.make(STRANGER)]);
  }
  return bad;
}

/** Whether a message names a value: as it is printed in decimal or in hexadecimal digits. */
function names(message: string, bad: BadName, value: unknown): boolean {
  if (bad === "another kernel's") return message.includes(bad);
  const forms = [String(value)];
  if (typeof value === "number") forms.push(`0x${value.toString(16)}`);
  return forms.some((form) => message.includes(form));
}

/** Messages of V8's own, of code that has gone on with a value that it did not expect. */
const ENGINE =
  /^(Cannot (read|set|mix|convert|destructure|use)|.*is not (a function|iterable|a constructor|an object))/;

/** What is wrong with the answer to a bad value; null if nothing is. */
async function wrongWith(call: () => unknown, bad: BadName, value: unknown): Promise<string | null> {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) return `throws ${String(error)}`;
    if (ENGINE.test(error.message)) return `leaves it to the engine: ${error.message}`;
    return names(error.message, bad, value) ? null : `does not name it: ${error.message}`;
  }
  return "is accepted";
}

/**
 * All that is wrong with a function's answers to bad arguments; and, since those that it refuses change nothing, to the
 * good ones after them.
 */
async function wrongAnswersOf(name: string, call: Callable, text: string): Promise<string[]> {
  const written = writtenOf(text);
  const accepted = ACCEPTED[name] ?? {};
  const faults: string[] = [];
  let system = new System();
  let good = written.map(({ word }) => word.make(system));
  for (const [at, each] of written.entries()) {
    if (accepted.arguments !== undefined) break;
    for (const [bad, value] of badValues(written, each, good[at])) {
      const args = good.with(at, value);
      const wrong = await wrongWith(() => call.apply(system, args), bad, value);
      if (wrong === null) continue;
      const usual = each.word.legal[bad] ?? (each.optional ? DEFAULT[bad] : undefined);
      const reason = accepted[`${each.name} ${bad}`] ?? usual;
      if (reason === undefined) faults.push(`${name}(${text}): ${each.name} ${bad} ${wrong}`);
      system = new System();
      good = written.map(({ word }) => word.make(system));
    }
  }
  if (accepted.call !== undefined) return faults;
  try {
    await use(system, call.apply(system, good));
  } catch (error) {
    faults.push(`${name}(${text}): ${String(error)}`);
  }
  return faults;
}

describe.each(Object.keys(ENTRIES) as (keyof typeof ENTRIES)[])("ptescope/%s", (entry) => {
  const calls = functionsOf(entry);
  const known = KNOWN_GOOD[entry]!;

  test("has a known-good call of every function and class, and of nothing else", () => {
    expect(Object.keys(known).sort()).toEqual(calls.map(([name]) => name).sort());
  });

  test("names every bad argument, and answers the good ones", async () => {
    const faults: string[] = [];
    for (const [name, call] of calls) faults.push(...(await wrongAnswersOf(name, call, known[name] ?? "")));
    expect(faults).toEqual([]);
  });
});

describe("methods", () => {
  test.each(Object.entries(KNOWN_GOOD_METHODS))(
    "of %s name every bad argument",
    async (_, { make, calls }) => {
      const faults: string[] = [];
      for (const [name, text] of Object.entries(calls)) {
        const invoke = function (this: System, ...args: unknown[]): unknown {
          const object = make(this) as Record<string, Callable>;
          return object[name]!(...args);
        };
        faults.push(...(await wrongAnswersOf(name, invoke as Callable, text)));
      }
      expect(faults).toEqual([]);
    },
  );
});
