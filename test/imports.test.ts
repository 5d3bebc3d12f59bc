import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";

const ROOT = resolve(import.meta.dirname, "..");

/**
 * The layers, lowest first. A file may import from its own layer and from those below; between the folders of one
 * layer imports are allowed as long as they make no circle.
 */
const LAYERS: readonly (readonly string[])[] = [
  ["arch/x86/cpu"],
  ["arch/x86/oracle"],
  ["arch/x86/mm"],
  ["src/mm", "src/virt"],
  ["src/trace", "src/guest", "src/formats", "src/sim", "src/text"],
  ["src/audit", "src/conform", "src/inspect", "src/dialects"],
  ["src/jobs"],
  ["src/cli", "src/package"],
];

/** Who may import Node's modules: the package's other entries run where there are none. */
const ON_NODE = ["src/cli", "src/formats", "src/jobs", "src/conform/subject-command.ts"];

/** What may be imported from npm, and by whom. */
const LIBRARIES: Readonly<Record<string, readonly string[]>> = {
  "src/formats/page-decompression.ts": ["fzstd", "snappyjs"],
};

/** Files over 400 lines, with the reason why they are not taken apart. */
const LONG: Readonly<Record<string, string>> = {
  "src/package/linux.ts": "a list of names, one a line",
};

/** Files that import each other in a circle, types included, sorted and joined by spaces, with the reason. */
const CIRCLES: Readonly<Record<string, string>> = {};

function sourceFiles(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  const specifiers = [...text.matchAll(/(?<!["\w])(?:from|import)\s*\(?\s*"([^"]+)"/g)].map(
    (match) => match[1]!,
  );
  return specifiers.map((specifier) =>
    specifier.startsWith(".") ? relative(ROOT, resolve(ROOT, dirname(file), specifier)) : specifier,
  );
}

/** Whether a path is one of these, or in one of these folders. */
function isOneOf(places: readonly string[], path: string): boolean {
  return places.some((place) => path === place || path.startsWith(`${place}/`));
}

function layerOf(path: string): number {
  return LAYERS.findIndex((folders) => isOneOf(folders, path));
}

function folderOf(path: string): string {
  return LAYERS.flat().find((folder) => path === folder || path.startsWith(`${folder}/`))!;
}

/** The sets of files that import each other in a circle (Tarjan's strongly connected components). */
function circlesAmong(files: readonly string[]): string[] {
  const order = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[] = [];
  const visit = (file: string): number => {
    const own = order.size;
    order.set(file, own);
    stack.push(file);
    let lowest = own;
    for (const target of importsOf(file)) {
      if (!files.includes(target)) continue;
      if (!order.has(target)) lowest = Math.min(lowest, visit(target));
      else if (stack.includes(target)) lowest = Math.min(lowest, order.get(target)!);
    }
    if (lowest < own) return lowest;
    const members = stack.splice(stack.indexOf(file));
    if (members.length > 1) circles.push(members.sort().join(" "));
    return lowest;
  };
  for (const file of files) if (!order.has(file)) visit(file);
  return circles;
}

const FILES = [...sourceFiles("arch"), ...sourceFiles("src")];

describe("imports", () => {
  test("every source file belongs to a layer", () => {
    expect(FILES.filter((file) => layerOf(file) < 0)).toEqual([]);
  });

  test("point down only", () => {
    const upward = FILES.flatMap((file) =>
      importsOf(file)
        .filter((target) => layerOf(target) > layerOf(file))
        .map((target) => `${file} -> ${target}`),
    );
    expect(upward).toEqual([]);
  });

  test("make no circle between the folders of one layer", () => {
    const edges = new Map<string, Set<string>>();
    for (const file of FILES) {
      for (const target of importsOf(file)) {
        if (layerOf(target) !== layerOf(file) || folderOf(target) === folderOf(file)) continue;
        const from = folderOf(file);
        edges.set(from, (edges.get(from) ?? new Set()).add(folderOf(target)));
      }
    }
    const circles = [...edges].flatMap(([from, targets]) =>
      [...targets].filter((to) => edges.get(to)?.has(from)).map((to) => `${from} <-> ${to}`),
    );
    expect(circles).toEqual([]);
  });

  test("lead to nothing but our own files and, where it is allowed, Node", () => {
    const foreign = FILES.flatMap((file) =>
      importsOf(file)
        .filter((target) => layerOf(target) < 0)
        .filter((target) => !(target.startsWith("node:") && isOneOf(ON_NODE, file)))
        .filter((target) => !LIBRARIES[file]?.includes(target))
        .map((target) => `${file} -> ${target}`),
    );
    expect(foreign).toEqual([]);
  });

  test("make no circle among files, types included, but those with a reason", () => {
    expect(circlesAmong(FILES)).toEqual(Object.keys(CIRCLES));
  });

  test("no file over 400 lines without a reason", () => {
    const long = FILES.filter((file) => readFileSync(join(ROOT, file), "utf8").split("\n").length > 401);
    expect(long).toEqual(Object.keys(LONG));
  });
});
