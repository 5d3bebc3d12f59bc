import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, expect, test } from "vitest";

/** All that the package is made from. */
const MADE_FROM = [
  "src",
  "arch",
  "package.json",
  "tsconfig.json",
  "tsconfig.build.json",
  "README.md",
  "LICENSE",
];

/** What the programs in consumer/ print. */
const PRINTED = {
  "own-caller": [
    "c 2 entries, fault; nothing found",
    "c 2 entries, stored; rule 11: CPU 1; rule 36: CPU 1; rule 35: CPU 1",
    "d 2 entries, fault; nothing found",
    "d 2 entries, stored; rule 11: CPU 1; rule 36: CPU 1; rule 35: CPU 1",
  ],
  "own-system": [
    "G1 frame 32",
    "G2 frame 19",
    "2 in the recording",
    "CPU 0 writes 0x1000",
    "CPU 0: entry PWAD -> none",
    "the frame is freed",
    "CPU 0 drops 0x1000 (INVLPG)",
  ],
  "every-entry": [
    "cpu true",
    "audit 30 rules, 0 findings",
    "rule 2: no spte points to a freed page",
    "inspect 1 reading",
    "conform true, 0 mismatches",
    "files true",
  ],
};
const PROGRAMS = Object.keys(PRINTED) as (keyof typeof PRINTED)[];

/** How users of the package compile: for Node with its types, or for a bundler with a browser's. */
const SETTINGS = {
  nodenext: {
    module: "nodenext",
    moduleResolution: "nodenext",
    lib: ["es2023"],
    types: ["node"],
    typeRoots: [resolve("node_modules/@types")],
  },
  bundler: { module: "esnext", moduleResolution: "bundler", lib: ["es2023", "dom"], types: [], noEmit: true },
};

const folder = mkdtempSync(join(tmpdir(), "ptescope-packed-"));
const consumer = join(folder, "consumer");
let tarball = "";

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error ?? stdout + stderr}`);
  return stdout;
}

// A build of one's own: that in dist may be of other sources, or absent.
beforeAll(() => {
  const sources = join(folder, "sources");
  for (const each of MADE_FROM) cpSync(each, join(sources, each), { recursive: true });
  symlinkSync(resolve("node_modules"), join(sources, "node_modules"));
  run("npm", ["pack", "--pack-destination", folder], sources);
  const { name, version } = JSON.parse(readFileSync("package.json", "utf8")) as Record<string, string>;
  tarball = join(folder, `${name}-${version}.tgz`);
  mkdirSync(consumer);
  writeFileSync(join(consumer, "package.json"), JSON.stringify({ type: "module", private: true }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], consumer);
  for (const program of PROGRAMS) {
    cpSync(join("test/src/package/consumer", `${program}.ts`), join(consumer, `${program}.ts`));
  }
}, 240_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("publint has nothing to say about the package", async () => {
  const { buffer, byteOffset, length } = new Uint8Array(readFileSync(tarball));
  const pack = { tarball: buffer.slice(byteOffset, byteOffset + length) };
  const { messages, pkg } = await publint({ pack, level: "suggestion", strict: true });
  expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([]);
});

test("the package holds what was built, the bundled guest and what npm wants, and nothing else", () => {
  const files = run("tar", ["-tzf", tarball], folder).trim().split("\n");
  const others = files.filter((file) => !/^package\/dist\/(?:arch|src)\/.+\.(?:d\.ts|js)$/.test(file));
  expect(others.filter((file) => !file.startsWith("package/dist/src/samples/")).sort()).toEqual([
    "package/LICENSE",
    "package/README.md",
    "package/package.json",
  ]);
  expect(others).toContain("package/dist/src/samples/guest-a1/manifest.json");
});

test("the installed command runs", () => {
  const printed = run(join(consumer, "node_modules/.bin/ptescope"), ["decode", "0x8000000012345867"], folder);
  expect(printed).toContain("0x12345");
});

const compiled = new Map<keyof typeof SETTINGS, string>();

/** Compiles the programs, once with each setting; returns what the compiler says. */
function compile(resolution: keyof typeof SETTINGS): string {
  const known = compiled.get(resolution);
  if (known !== undefined) return known;
  const file = `tsconfig.${resolution}.json`;
  const compilerOptions = {
    target: "es2022",
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    rootDir: ".",
    outDir: "out",
    ...SETTINGS[resolution],
  };
  const files = PROGRAMS.map((program) => `${program}.ts`);
  writeFileSync(join(consumer, file), JSON.stringify({ compilerOptions, files }));
  const said = run(process.execPath, [resolve("node_modules/typescript/bin/tsc"), "-p", file], consumer);
  compiled.set(resolution, said);
  return said;
}

test.each(["nodenext", "bundler"] as const)(
  "with module resolution %s programs compile, and the package's declarations with them",
  (resolution) => {
    expect(compile(resolution)).toBe("");
  },
);

test.each(PROGRAMS)("%s, compiled, prints what it should", (program) => {
  compile("nodenext");
  expect(
    run(process.execPath, [`out/${program}.js`], consumer)
      .trim()
      .split("\n"),
  ).toEqual(PRINTED[program]);
});

test.each(["own-caller", "own-system"] as const)("%s runs from a browser's bundle", async (program) => {
  const { outputFiles } = await build({
    absWorkingDir: consumer,
    entryPoints: [`${program}.ts`],
    bundle: true,
    write: false,
    platform: "browser",
    format: "iife",
    logLevel: "silent",
  });
  const printed: string[] = [];
  const log = (line: string) => printed.push(line);
  runInContext(outputFiles[0]?.text ?? "", createContext({ console: { log }, TextDecoder, TextEncoder }));
  expect(printed).toEqual(PRINTED[program]);
});
