import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { ReadBudget } from "../formats/read-budget.ts";
import { type RootCandidate, RootFinder } from "../inspect/find-roots.ts";
import { jsonText } from "../text/escape.ts";
import { formatBytes, formatCount, hex } from "../text/hex.ts";
import { type Command, parseArguments, requirePositionals } from "./command.ts";
import { FILE_OPTIONS, IMAGE_NOTE, type Image, withImage } from "./image.ts";
import { DEFAULT_LINES, parseLines } from "./options.ts";
import type { Terminal } from "./output.ts";

/** What the search may read: the whole of a large machine's memory. */
const MAX_SEARCHED = 2 ** 42;

/** Bytes between two words of progress. */
const PROGRESS_BYTES = 2 ** 26;

export const rootsCommand: Command = {
  name: "roots",
  summary: "pages of an unknown image that look like page-table roots, best first, and why",
  usage: "IMAGE [options]",
  options: {
    ...FILE_OPTIONS,
    lines: { value: "N|all", help: `show N roots at most (default ${formatCount(DEFAULT_LINES)})` },
    json: { help: "the same as JSON" },
  },
  notes: [
    ...IMAGE_NOTE,
    "Every page of the image is read, and the holes of a sparse file as well. A root has pointers to tables in its upper",
    "half, which lead down to pages, and no other table points at it; roots of one machine share the kernel's half. CR3s",
    "that the file itself names come first.",
    "Exit status 1: nothing looks like a root.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(rootsCommand, args);
    const [path = ""] = requirePositionals(rootsCommand, parsed, 1);
    const limit = parseLines(parsed.text("lines"));
    const budget = new ReadBudget(MAX_SEARCHED);
    return await withImage(
      path,
      parsed,
      async (image) => {
        const head = { format: "ptescope-roots", version: 1, image: path };
        const named = namedRoots(image);
        const roots = search(image, terminal);
        const shown = roots.slice(0, Number.isFinite(limit) ? limit : roots.length);
        const lines = parsed.has("json")
          ? [jsonText({ ...head, named: named.map(namedObject), roots: shown.map(rootObject) })]
          : rootLines(named, shown, roots.length);
        await terminal.write(lines);
        return named.length + roots.length > 0 ? 0 : 1;
      },
      budget,
    );
  },
};

/** A CR3 that the file names, and who has it. */
interface NamedRoot {
  readonly name: string;
  readonly cr3: bigint;
}

function namedRoots({ core, manifest }: Image): NamedRoot[] {
  const cpus = core.cpus.map(({ cr3 }, number) => ({ name: `CPU ${number}`, cr3 }));
  const processes = [...(core.note?.cr3 ?? manifest?.cr3 ?? [])];
  return [...cpus, ...processes.map(([name, cr3]) => ({ name: `process ${name}`, cr3: BigInt(cr3) }))];
}

function search({ core, memory }: Image, terminal: Terminal): RootCandidate[] {
  const finder = new RootFinder({
    tableAt: (page) => memory.tableAt(page),
    holds: (page) => core.holds(page),
  });
  const all = formatBytes([...core.ranges()].reduce((sum, { size }) => sum + size, 0));
  let told = 0;
  const passed = (searched: number): void => {
    if (searched - told < PROGRESS_BYTES) return;
    told = searched;
    terminal.progress(`${formatBytes(searched)} of ${all} searched`);
  };
  for (const { physical, bytes } of core.pieces(passed)) {
    // Pieces of unpacked files may stand at any place of a buffer.
    const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes);
    const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
    for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
      finder.offer(physical + at, words.subarray(at / 4, (at + PAGE_SIZE) / 4));
    }
  }
  const roots = finder.found();
  terminal.progress("");
  if (finder.full) terminal.warn("ptescope roots: too many candidates, the last of the image were left out");
  return roots;
}

function rootLines(named: readonly NamedRoot[], shown: readonly RootCandidate[], all: number): string[] {
  const lines = named.map(({ name, cr3 }) => `${hex(cr3).padEnd(16)}  the file says: CR3 of ${name}`);
  for (const candidate of shown) lines.push(`${hex(candidate.root).padEnd(16)}  ${reasonOf(candidate)}`);
  if (all > shown.length) lines.push(`and ${formatCount(all - shown.length)} more: --lines all`);
  return lines.length > 0 ? lines : ["nothing here looks like a root of four or five levels"];
}

function reasonOf({ levels, user, kernel, alike, pages, bad }: RootCandidate): string {
  const half = `${user} user and ${kernel} kernel ${kernel === 1 ? "entry" : "entries"}`;
  const shares = alike === 0 || kernel === 0 ? "" : `; ${formatCount(alike)} more with the same kernel half`;
  const wrong = bad === 0 ? "none of them impossible" : `${formatCount(bad)} impossible`;
  return `${levels} levels: ${half}; ${formatCount(pages)} leaf entries below, ${wrong}${shares}`;
}

function namedObject({ name, cr3 }: NamedRoot): object {
  return { name, cr3: hex(cr3) };
}

function rootObject({ root, levels, user, kernel, alike, pages, bad }: RootCandidate): object {
  return {
    root: hex(root),
    levels,
    userEntries: user,
    kernelEntries: kernel,
    alike,
    leafEntries: pages,
    badEntries: bad,
  };
}
