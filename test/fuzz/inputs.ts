import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/run.ts";
import { Xorshift } from "../support/mutate.ts";
import { anyArguments, anyOptions, BOUNDED } from "./arguments.ts";
import { anyAdapter, anyCaseFile, anyOops, anyProtocol } from "./conversations.ts";
import { writeAnyGuest } from "./guests.ts";
import { anyWord, hostileText } from "./hostile.ts";
import { anyImage } from "./images.ts";
import { anyRecording } from "./records.ts";

/** One input: a command line, or a file of records for the library; its files are in the directory it runs in. */
export type Input = { readonly kind: string } & (
  | { readonly args: readonly string[] }
  | { readonly recording: Uint8Array; readonly step: number }
);

interface Kind {
  readonly name: string;
  /** How often it comes up. */
  readonly weight: number;
  /** Makes an input, with its files in the directory. */
  readonly make: (random: Xorshift, directory: string, commands: Commands) => Omit<Input, "kind"> & object;
}

/** Every command by name. */
export type Commands = Readonly<Record<string, Command>>;

/** Loads every command. */
export async function loadCommands(): Promise<Commands> {
  const loaded = Object.entries(COMMANDS).map(async ([name, load]) => [name, await load()] as const);
  return Object.fromEntries(await Promise.all(loaded));
}

const KINDS: readonly Kind[] = [
  {
    name: "arguments",
    weight: 10,
    make: (random, _, commands) => {
      const name = random.pick([
        ...Object.keys(commands),
        hostileText(random),
        "help",
        "--version",
        "--help",
      ]);
      const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
      const options = command === undefined || random.below(4) === 0 ? [] : anyOptions(command, random);
      const words = anyArguments(random);
      // Without an image to look at, nothing but these would run for long.
      const short = name === "conform" ? ["--list"] : name === "audit" ? ["no/guest"] : [];
      return { args: [name, ...words, ...options, ...short] };
    },
  },
  {
    name: "word",
    weight: 22,
    make: (random, _, { decode }) => {
      const word = random.below(12) === 0 ? hostileText(random) : anyWord(random).toString(16);
      return { args: ["decode", word, ...anyOptions(decode!, random, 5)] };
    },
  },
  {
    name: "oops",
    weight: 8,
    make: (random, directory, { decode }) => {
      writeFileSync(join(directory, "oops"), anyOops(random));
      const file = random.below(20) === 0 ? random.pick(["-", ".", "no/such", "/dev/null"]) : "oops";
      return { args: ["decode", "--oops", file, ...anyOptions(decode!, random, 2)] };
    },
  },
  {
    name: "explain",
    weight: 4,
    make: (random) => {
      const what = random.pick(["rule", "rules", "fault", "fault", "fault", hostileText(random)]);
      const id = random.pick([
        `${random.below(40)}`,
        `G${random.below(5)}`,
        anyWord(random).toString(16),
        hostileText(random),
      ]);
      return {
        args: [
          "explain",
          what,
          ...(what === "rules" ? [] : [id]),
          ...(random.below(2) === 0 ? [] : ["--json"]),
        ],
      };
    },
  },
  {
    name: "image",
    weight: 27,
    make: (random, directory, commands) => {
      const { bytes, options } = anyImage(random);
      const name =
        random.below(8) === 0 ? `i${hostileText(random).replaceAll("/", "").slice(0, 100)}` : "image";
      writeFileSync(join(directory, name), bytes);
      return { args: onImage(name, options, random, commands) };
    },
  },
  {
    name: "guest",
    weight: 15,
    make: (random, directory, commands) => {
      mkdirSync(join(directory, "guest"));
      writeAnyGuest(join(directory, "guest"), random);
      if (random.below(3) > 0) {
        const name = random.pick(["ps", "audit"]);
        const few =
          name === "audit" && random.below(4) > 0 ? ["--protocol", random.pick(["a0", "b", "c", "e1"])] : [];
        return { args: [name, "guest", ...few, ...anyOptions(commands[name]!, random, 3)] };
      }
      return { args: onImage("guest", ["--process", random.pick(["one", "two"])], random, commands) };
    },
  },
  {
    name: "records",
    weight: 8,
    make: (random) => ({ recording: anyRecording(random), step: random.pick([7, 1000, 2 ** 20]) }),
  },
  {
    name: "cases",
    weight: 5,
    make: (random, directory, { conform }) => {
      writeFileSync(join(directory, "cases"), anyCaseFile(random));
      return { args: ["conform", "--from", "cases", ...anyOptions(conform!, random, 2)] };
    },
  },
  {
    name: "adapter",
    weight: 1.5,
    make: (random, _, { conform }) => {
      const options = anyOptions(conform!, random, 1).filter(
        (word) => !["--timeout", "--start-timeout", "--groups"].includes(word),
      );
      const usual = ["--groups", "tricky", "--timeout", "1", "--start-timeout", "1"];
      return { args: ["conform", "--against", anyAdapter(random), ...usual, ...options] };
    },
  },
  {
    name: "protocol",
    weight: 0.5,
    make: (random, directory) => {
      mkdirSync(join(directory, "guest"));
      writeAnyGuest(join(directory, "guest"), random);
      const file = `p${hostileText(random).replaceAll("/", "").slice(0, 100)}.mjs`;
      writeFileSync(join(directory, file), anyProtocol(random));
      return { args: ["audit", "guest", "--protocol", `./${file}`] };
    },
  },
];

const TOTAL = KINDS.reduce((sum, { weight }) => sum + weight, 0);

/** Names of all kinds. */
export const KIND_NAMES: readonly string[] = KINDS.map(({ name }) => name);

/** Input number `number` of a seed: the same whatever came before it. Its files are written to the directory. */
export function inputOf(seed: number, number: number, directory: string, commands: Commands): Input {
  const mixed = Math.imul(Math.imul(seed, 0x9e37_79b1) ^ (number + 1), 0x85eb_ca6b);
  const random = new Xorshift(mixed ^ (mixed >>> 15));
  for (let skipped = 0; skipped < 4; skipped++) random.next();
  const kind = kindAt((random.below(2 ** 20) / 2 ** 20) * TOTAL);
  return { kind: kind.name, ...kind.make(random, directory, commands) } as Input;
}

/** The kind that has this place on a line of all weights. */
function kindAt(place: number): Kind {
  let end = 0;
  for (const kind of KINDS) {
    end += kind.weight;
    if (place < end) return kind;
  }
  return KINDS[0]!;
}

function onImage(path: string, options: readonly string[], random: Xorshift, commands: Commands): string[] {
  const name = random.pick(["dump", "dump", "walk", "roots"]);
  const command = commands[name]!;
  const own = name === "roots" ? options.filter((_, at) => isForRoots(options, at)) : options;
  const addresses = Array.from({ length: 1 + random.below(3) }, () => anyWord(random).toString(16));
  const given = random.below(10) === 0 ? [] : own;
  const more = name === "dump" && random.below(10) === 0 ? BOUNDED : anyOptions(command, random);
  return [name, path, ...given, ...more, ...(name === "walk" ? addresses : [])];
}

/** Whether a word of an image's options is one that roots has: what the file is, not where its tables are. */
function isForRoots(options: readonly string[], at: number): boolean {
  const option = at % 2 === 0 ? options[at] : options[at - 1];
  return option === "--format" || option === "--map";
}
