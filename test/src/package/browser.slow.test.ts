import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createContext, runInContext } from "node:vm";
import { build, transform } from "esbuild";
import { expect, test } from "vitest";
import * as audit from "../../../src/package/audit.ts";
import * as conform from "../../../src/package/conform.ts";
import * as cpu from "../../../src/package/cpu.ts";
import * as inspect from "../../../src/package/inspect.ts";
import * as linux from "../../../src/package/linux.ts";

/** The entries that need no Node; files.ts is for what does. */
const ENTRIES = ["cpu", "linux", "audit", "inspect", "conform"] as const;
const NAMES = { cpu, linux, audit, inspect, conform };

interface Bundle {
  readonly text: string;
  /** The files whose code is in it. */
  readonly sources: readonly string[];
}

/** The entry with all that it needs, as one module for a browser. */
async function bundle(entry: string): Promise<Bundle> {
  const { outputFiles, warnings, metafile } = await build({
    entryPoints: [join("src/package", `${entry}.ts`)],
    bundle: true,
    write: false,
    metafile: true,
    platform: "browser",
    format: "esm",
    logLevel: "silent",
  });
  expect(warnings).toEqual([]);
  expect(Object.values(metafile.outputs).flatMap(({ imports }) => imports)).toEqual([]);
  const text = outputFiles[0]?.text ?? "";
  expect(/\b(?:require|import)\(|["']node:/.exec(text)).toBeNull();
  return { text, sources: Object.keys(metafile.inputs) };
}

/** Runs a bundle where there is the language, what is given, and the two classes that browsers have for UTF-8. */
async function runBundle(text: string, given: object, script = "entry"): Promise<object> {
  const { code } = await transform(text, { format: "iife", globalName: "entry" });
  return runInContext(`${code}; ${script};`, createContext({ TextDecoder, TextEncoder, ...given })) as object;
}

test.each(ENTRIES)(
  "esbuild makes one module for browsers of ptescope/%s, which runs without Node",
  async (entry) => {
    const { text } = await bundle(entry);
    const bundled = await runBundle(text, {});
    expect(Object.keys(bundled).sort()).toEqual(Object.keys(NAMES[entry]).sort());
  },
);

test("the entries for browsers use no global that only Node has", async () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-browser-"));
  try {
    // Of what browsers have and the language has not, this is all that we use.
    writeFileSync(
      join(folder, "browser.d.ts"),
      `declare class TextEncoder { encode(text: string): Uint8Array; }
       declare class TextDecoder {
         constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
         decode(bytes: Uint8Array): string;
       }`,
    );
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        extends: resolve("tsconfig.json"),
        compilerOptions: { types: [] },
        include: [],
        files: ["browser.d.ts", ...ENTRIES.map((entry) => resolve("src/package", `${entry}.ts`))],
      }),
    );
    const tsc = resolve("node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    const bundles = await Promise.all(ENTRIES.map(bundle));
    const sources = new Set(bundles.flatMap((each) => each.sources));
    // Files that only lend a type are compiled, too, and may use what they like.
    const errors = stdout.split("\n").filter((line) => sources.has(line.replace(/\(.*/, "")));
    expect(errors).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** A recording of a page that is freed while a CPU can still write it. */
function recordMistake(): Uint8Array[] {
  const { free_page, Kernel, Linear, Machine, mapAnonymous, mmap, switch_mm } = linux;
  const machine = new Machine({ memory: "16MiB", cpus: 2 });
  const kernel = new Kernel(machine);
  const mm = kernel.createMm("lab");
  const at = Linear.of(0x7f00_0020_0000);
  const page = mapAnonymous(kernel, mmap(mm, { at, length: 0x1000, prot: "rw" }), at);
  const chunks: Uint8Array[] = [];
  const recorder = new audit.Recorder(kernel, (bytes) => chunks.push(bytes));
  switch_mm(kernel, 1, mm);
  machine.cpu(1).store(at, 42);
  free_page(kernel, page);
  recorder.stop();
  return chunks;
}

test("ptescope/audit, bundled, judges a recording where there is no require and no process", async () => {
  const { text } = await bundle("audit");
  const chunks = recordMistake();
  const script = `entry.judgeRecords(chunks, (run) => new entry.Auditor(run)).findings.map((each) => each.explain())`;
  const found = (await runBundle(text, { chunks }, script)) as string[];
  const judged = audit.judgeRecords(chunks, (run) => new audit.Auditor(run));
  expect([...found]).toEqual(judged.findings.map((each) => each.explain()));
  expect(found[0]).toContain("rule 1 broken: no CPU can still translate to a freed page");
});
