import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";

const FOLDER = "src/package";
const ENTRIES = ["cpu", "linux", "audit", "inspect", "conform", "files"] as const;

/** A name that an entry exports, and where it is declared. */
interface Exported {
  readonly name: string;
  /** Its name there. */
  readonly declared: string;
  readonly file: string;
}

function textOf(entry: string): string {
  return readFileSync(join(FOLDER, `${entry}.ts`), "utf8");
}

const FILES = new Map<string, readonly string[]>();

function linesOf(file: string): readonly string[] {
  const known = FILES.get(file) ?? readFileSync(file, "utf8").split("\n");
  FILES.set(file, known);
  return known;
}

const LIST = /^export (?:type )?\{([^{}]*)\} from "([^"]+)";$/gm;

function exportedBy(entry: string): Exported[] {
  return [...textOf(entry).matchAll(LIST)].flatMap(([, names = "", from = ""]) =>
    names
      .split(",")
      .map((each) => each.trim().replace(/^type /, ""))
      .filter((each) => each !== "")
      .map((each) => {
        const [declared = "", name = declared] = each.split(" as ");
        return { name, declared, file: origin(declared, join(FOLDER, from)) };
      }),
  );
}

/** The file that declares what a file exports: behind a function that is checked first, that of the function itself. */
function origin(name: string, file: string): string {
  if (!file.startsWith(join(FOLDER, "checked"))) return file;
  const text = linesOf(file).join("\n");
  const module = new RegExp(`^export const ${name}: typeof (\\w+)\\.${name} =\\s+checked\\(`, "m").exec(
    text,
  )?.[1];
  const from = new RegExp(`^import \\* as ${module} from "([^"]+)";$`, "m").exec(text)?.[1];
  return from === undefined ? file : join(dirname(file), from);
}

/** What is wrong with the declarations of a name, a type and a value of one name apart; null if nothing is. */
function wrongWith({ declared, file }: Exported): string | null {
  const lines = linesOf(file);
  const declaration = new RegExp(
    `^export (?:async |abstract )*(?:const|class|type|interface|function\\*?) ${declared.replace("$", "\\$")}\\b`,
  );
  const places = lines.flatMap((line, at) => (declaration.test(line) ? [at] : []));
  if (places.length === 0) return `${file}: ${declared} is not declared there`;
  const bare = places.find((at) => !/^\/\*\* \S.{8,} \*\/$|^ \*\/$/.test(lines[at - 1] ?? ""));
  return bare === undefined ? null : `${file}:${bare + 1}: ${declared} has no docstring`;
}

test("the package exports these entries and nothing else", () => {
  const { exports } = JSON.parse(readFileSync("package.json", "utf8")) as { exports: unknown };
  const wanted = ENTRIES.map((entry) => {
    const file = `./dist/${FOLDER}/${entry}`;
    return [`./${entry}`, { types: `${file}.d.ts`, default: `${file}.js` }];
  });
  expect(exports).toEqual(Object.fromEntries(wanted));
});

describe.each(ENTRIES)("ptescope/%s", (entry) => {
  test("says what it is for, and lists its names one by one", () => {
    const text = textOf(entry);
    expect(text).toMatch(/^\/\*\*\n(?: \* .+\n)+ \*\/\n/);
    expect(
      text
        .replace(/^\/\*\*.*?\*\/\n/s, "")
        .replace(LIST, "")
        .trim(),
    ).toBe("");
    const names = exportedBy(entry).map(({ name }) => name);
    expect(names.filter((name, at) => names.indexOf(name) !== at)).toEqual([]);
  });

  test("exports nothing without a docstring", () => {
    expect(exportedBy(entry).flatMap((each) => wrongWith(each) ?? [])).toEqual([]);
  });
});
