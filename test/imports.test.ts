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

/** Files over 400 lines, with the reason why they are not taken apart. */
const LONG: Readonly<Record<string, string>> = {
  "src/package/linux.ts": "a list of names, one a line",
};

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
        .map((target) => `${file} -> ${target}`),
    );
    expect(foreign).toEqual([]);
  });

  test("no file over 400 lines without a reason", () => {
    const long = FILES.filter((file) => readFileSync(join(ROOT, file), "utf8").split("\n").length > 401);
    expect(long).toEqual(Object.keys(LONG));
  });
});
