import { cpus, totalmem } from "node:os";
import type { Benchmark, Result } from "./benchmark.ts";
import { CASES } from "./m1.ts";

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
  const claims = rows.filter(({ benchmark }) => benchmark.rejectedFor === null);
  const rejected = rows.filter(({ benchmark }) => benchmark.rejectedFor !== null);
  return [
    "# Performance",
    "",
    "Written by `npm run bench -- --write docs/performance.md`; do not edit. The machine of this run:",
    "",
    ...machine(compiler).map((line) => `- ${line}`),
    "",
    "## Claims",
    "",
    "| name | operation | ns | per second | C, ns | ratio | samples |",
    "|---|---|--:|--:|--:|--:|--:|",
    ...claims.map(({ result, benchmark }) => row(result, benchmark)),
    "",
    ...targets(results),
    ...(rejected.length === 0 ? [] : rejectedSection(rejected, results)),
    "## How it is measured",
    "",
    "Each benchmark runs in a process of its own, with an idle C program beside it that builds the same page tables",
    "(`bench/reference/mmu.c`). After half a second of warming up, samples of about 3 ms are taken of the one and of the",
    "other in turns, each after one pass that is not counted, so that whatever else the machine does slows both. The",
    "numbers are medians. Both return a checksum of what they found, and the run fails when the two differ.",
    "",
    "The pages are mapped from 0x7f0000000000 on and visited in the order of a xorshift32 shuffle, seed 12345. Both",
    "programs make the same checks on every access: canonical address, memory's end, present, reserved bits, rights of the",
    "whole path, keys if on, A and D (set by compare-and-swap where one is missing). `tlb-hit` goes through the TLB that",
    "never evicts, a hash table, in both; `tlb-miss` and `store` through 256 sets of 8 ways.",
    "",
  ].join("\n");
}

/** The same as lines for a terminal. */
export function resultLines(results: readonly Result[]): string[] {
  const width = Math.max(...results.map(({ name }) => name.length));
  return results.map(({ name, nsPerOp, reference }) => {
    const beside =
      reference === null ? "" : `   C ${time(reference.nsPerOp)} ns   ${ratio(nsPerOp, reference.nsPerOp)} x`;
    return `${name.padEnd(width)}  ${time(nsPerOp).padStart(12)} ns${beside}`;
  });
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

function row({ name, nsPerOp, opsPerSecond, reference, samples }: Result, { operation }: Benchmark): string {
  const beside =
    reference === null ? ["-", "-"] : [time(reference.nsPerOp), ratio(nsPerOp, reference.nsPerOp)];
  return `| \`${[`${name}\``, operation, time(nsPerOp), rate(opsPerSecond), ...beside, samples].join(" | ")} |`;
}

/** What the project promises, beside what this run gave. */
function targets(results: readonly Result[]): string[] {
  const named = (name: string): Result | undefined => results.find((result) => result.name === name);
  const lines: string[] = [];
  for (const [name, most, least] of [
    ["walk", 2.5, 25e6],
    ["tlb-hit", 2, 100e6],
  ] as const) {
    const result = named(name);
    if (result === undefined) continue;
    const { nsPerOp, opsPerSecond, reference } = result;
    const beside = reference === null ? "no C here" : `${ratio(nsPerOp, reference.nsPerOp)} times C`;
    lines.push(
      `- \`${name}\`: at most ${most} times C, at least ${rate(least)}/s: ${beside}, ${rate(opsPerSecond)}/s.`,
    );
  }
  const m1 = named("m1");
  if (m1 !== undefined) {
    lines.push(
      `- \`m1\`: all ${CASES.toLocaleString("en")} cases in under 2 s: ${((m1.nsPerOp * CASES) / 1e9).toFixed(2)} s.`,
    );
  }
  return lines.length === 0 ? [] : ["What is promised, and what this run gave:", "", ...lines, ""];
}

function rejectedSection(
  rejected: readonly { result: Result; benchmark: Benchmark }[],
  results: readonly Result[],
): string[] {
  return [
    "## Rejected designs",
    "",
    "The same work in another form; it finds the same, more slowly.",
    "",
    "| name | operation | ns | times the chosen one |",
    "|---|---|--:|--:|",
    ...rejected.map(({ result, benchmark }) => {
      const chosen = results.find(({ name }) => name === benchmark.rejectedFor);
      const times = chosen === undefined ? "-" : ratio(result.nsPerOp, chosen.nsPerOp);
      return `| \`${result.name}\` | ${benchmark.operation} | ${time(result.nsPerOp)} | ${times} |`;
    }),
    "",
  ];
}

function time(ns: number): string {
  return ns < 1000 ? ns.toFixed(1) : Math.round(ns).toLocaleString("en");
}

function ratio(ours: number, theirs: number): string {
  return (ours / theirs).toFixed(2);
}

function rate(perSecond: number): string {
  if (perSecond >= 1e6) return `${(perSecond / 1e6).toFixed(1)} M`;
  return perSecond >= 1e4 ? `${(perSecond / 1e3).toFixed(0)} k` : perSecond.toFixed(1);
}
