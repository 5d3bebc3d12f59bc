import { cpus, totalmem } from "node:os";
import type { Benchmark, BenchmarkGroup, Result } from "./benchmark.ts";
import { CASES } from "./m1.ts";
import { mmuModule } from "./prototype/mmu-module.ts";
import { ratio, time } from "./result-line.ts";

interface Row {
  readonly result: Result;
  readonly benchmark: Benchmark;
}

/** What is promised of a benchmark: at most so many times C, or so many nanoseconds. */
const PROMISES: readonly { readonly name: string; readonly times?: number; readonly ns?: number }[] = [
  { name: "walk", times: 2.5 },
  { name: "tlb-hit", times: 2.5 },
  { name: "hit-store", times: 3 },
  { name: "tlb-miss", times: 4.5 },
  { name: "store", times: 4.5 },
  { name: "miss-amd-zen2", ns: 500 },
  { name: "miss-stale", ns: 250 },
  { name: "switch-stale", ns: 250 },
];
const M1_SECONDS = 2;

const METHOD = `## How it is measured

Each benchmark runs in a process of its own, with an idle C program beside it that builds the same page tables
(\`bench/reference\`). After half a second of warming up, samples of about 3 ms are taken of the one and of the other in
turns, each after one pass that is not counted, so that whatever else the machine does slows both. Times are CPU time of
the whole process, V8's own threads included, and not of the clock on the wall. A ratio is that of the two least samples:
what else the machine does only adds to a sample. Both programs return a checksum of what they found, and the run fails
when the two differ.

The pages are mapped from 0x7f0000000000 on and visited in the order of a xorshift32 shuffle, seed 12345. Both
programs make the same checks on every access: canonical address, memory's end, present, reserved bits, rights of the
whole path, keys if on, A and D (set by compare-and-swap where one is missing). Both have an unrolled path for four
levels with nothing to set, and fall back to a loop. \`tlb-hit\` and \`hit-store\` find the translation in a direct-mapped
table of 128 that stands before a hash table, \`tlb-miss\` and \`store\` go through 256 sets of 8 ways; ours by way of
\`Cpu.translate\`, with all that a machine may have besides: its records, its policies, its models.

What the host's caches hold: the data of all pages are folded onto 64 frames, 256 KiB in which each page visits one line,
so that no data access waits for memory. Page tables take 8 bytes a page and the order of the visits as many: 1 MiB
together for \`walk\`, 256 KiB for the misses: they are in the second or third level, not in the first. The 2,048 entries
of the TLB are 128 KiB here and 48 KiB in C. The 64 pages of the hits stay in the first level.`;

/** The results as a page for people, in Markdown, with the machine that they came from. */
export function performancePage(
  benchmarks: readonly Benchmark[],
  results: readonly Result[],
  compiler: string | null,
): string {
  const rows = results.map((result) => ({
    result,
    benchmark: benchmarks.find(({ name }) => name === result.name)!,
  }));
  const of = (group: BenchmarkGroup): Row[] => rows.filter(({ benchmark }) => benchmark.group === group);
  return [
    "# Performance",
    "",
    "Written by `npm run bench -- --write docs/performance.md`; do not edit. The machine of this run:",
    "",
    ...machine(compiler).map((line) => `- ${line}`),
    "",
    ...section("Claims", [], of("claim"), table),
    ...targets(results),
    ...section("A miss through each TLB", TRANSLATE, of("translate"), translateTable),
    ...section("Rejected designs", REJECTED, of("rejected"), (all) => otherTable(all, results)),
    ...section("A prototype in WebAssembly", prototypeWords(), of("prototype"), (all) =>
      otherTable(all, results),
    ),
    METHOD,
    "",
  ].join("\n");
}

const TRANSLATE = [
  "One call of `Cpu.translate` that misses, walks and fills: 16,384 pages in shuffled order, more than any of these TLBs",
  "holds. `stale` never evicts, so there CR3 is loaded before each round; its table then outgrows the host's caches.",
];
const REJECTED = ["The same work in another form; it finds the same, more slowly."];

function prototypeWords(): string[] {
  return [
    "The common walk and the miss path as a module that `bench/prototype` generates from the tables of entry bits, rights and",
    "permissions, on the buffer that is the machine's memory. It is measured, and not used. Both numbers include a call from",
    "JavaScript for each access. What adopting it would cost:",
    "",
    "- Memory: an address of WebAssembly has 32 bits, so a machine could have 4 GiB where it has 8 today; a buffer that was",
    "  not made as a WebAssembly.Memory, and what a bus serves, would keep the TypeScript.",
    `- Size: the module has ${mmuModule(0, 1).length} bytes, made when it is loaded; its generator is 400 lines beside 100 of the`,
    "  TypeScript that does the same.",
    "- Clarity: all that is not common stays in TypeScript, faults, A and D, five levels, 1-GiB pages, keys, so each rule that",
    "  the common path reads is there twice. Registers and TLB must lie in the same buffer, behind the guest's memory, and",
    "  every write of a register must be copied there. A debugger sees neither names nor types.",
  ];
}

function section(
  title: string,
  words: readonly string[],
  rows: readonly Row[],
  lines: (rows: readonly Row[]) => string[],
): string[] {
  if (rows.length === 0) return [];
  return [`## ${title}`, "", ...words, ...(words.length === 0 ? [] : [""]), ...lines(rows), ""];
}

function machine(compiler: string | null): string[] {
  const list = cpus();
  return [
    `${list[0]?.model.trim() ?? "unknown CPU"}, ${list.length} CPUs, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    `Node ${process.version} (V8 ${process.versions.v8}), ${process.platform} ${process.arch}`,
    compiler ?? "no C compiler: nothing stands beside",
    new Date().toISOString().slice(0, 10),
  ];
}

function table(rows: readonly Row[]): string[] {
  return [
    "| name | operation | least ns | median | per second | C: least | median | ratio | samples |",
    "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ...rows.map(({ result, benchmark }) => {
      const { name, opsPerSecond, samples } = result;
      return cells(
        `\`${name}\``,
        benchmark.operation,
        ...own(result),
        rate(opsPerSecond),
        ...beside(result),
        samples,
      );
    }),
  ];
}

function translateTable(rows: readonly Row[]): string[] {
  return [
    "| TLB | least ns | median | samples |",
    "|---|--:|--:|--:|",
    ...rows.map(({ result, benchmark }) => cells(benchmark.operation, ...own(result), result.samples)),
  ];
}

/** Designs beside the one that they stand for. */
function otherTable(rows: readonly Row[], results: readonly Result[]): string[] {
  return [
    "| name | operation | least ns | median | C: least | median | ratio | times the chosen one |",
    "|---|---|--:|--:|--:|--:|--:|--:|",
    ...rows.map(({ result, benchmark }) => {
      const chosen = results.find(({ name }) => name === benchmark.insteadOf);
      const times = chosen === undefined ? "-" : ratio(result.nsPerOp, chosen.nsPerOp);
      return cells(`\`${result.name}\``, benchmark.operation, ...own(result), ...beside(result), times);
    }),
  ];
}

function own({ nsPerOp, medianNsPerOp }: Result): string[] {
  return [time(nsPerOp), time(medianNsPerOp)];
}

function beside({ nsPerOp, reference }: Result): string[] {
  if (reference === null) return ["-", "-", "-"];
  return [time(reference.nsPerOp), time(reference.medianNsPerOp), ratio(nsPerOp, reference.nsPerOp)];
}

function cells(...values: readonly (string | number)[]): string {
  return `| ${values.join(" | ")} |`;
}

/** What the project promises, beside what this run gave. */
function targets(results: readonly Result[]): string[] {
  const named = (name: string): Result | undefined => results.find((result) => result.name === name);
  const lines = PROMISES.flatMap(({ name, times = 0, ns = 0 }) => {
    const result = named(name);
    if (result === undefined) return [];
    if (ns > 0) return [`- \`${name}\`: at most ${ns} ns: ${verdict(result.nsPerOp, ns, " ns")}.`];
    const { reference } = result;
    const found =
      reference === null ? "no C here" : verdict(result.nsPerOp / reference.nsPerOp, times, " times C");
    return [`- \`${name}\`: at most ${times} times C: ${found}.`];
  });
  const m1 = named("m1");
  if (m1 !== undefined) {
    const seconds = (m1.nsPerOp * CASES) / 1e9;
    const cases = CASES.toLocaleString("en");
    lines.push(
      `- \`m1\`: all ${cases} cases in under ${M1_SECONDS} s: ${verdict(seconds, M1_SECONDS, " s")}.`,
    );
  }
  return lines.length === 0
    ? []
    : ["What is promised, by the least samples, and what this run gave:", "", ...lines, ""];
}

function verdict(found: number, most: number, unit: string): string {
  return `${found < 100 ? found.toFixed(2) : found.toFixed(0)}${unit}${found > most ? ", MISSED" : ""}`;
}

function rate(perSecond: number): string {
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toFixed(1)} M`;
  return perSecond >= 1e4 ? `${(perSecond / 1e3).toFixed(0)} k` : perSecond.toFixed(1);
}
