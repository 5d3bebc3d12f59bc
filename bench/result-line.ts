import type { Result } from "./benchmark.ts";

const COLUMNS = ["least ns", "median", "C: least", "median", "ratio"] as const;
const WIDTH = 12;

/** What stands above the lines of results, for a terminal. */
export function resultHeader(names: readonly string[]): string {
  return line("", COLUMNS, names);
}

/** A result as a line whose columns stand under the header's. The ratio is that of the two least. */
export function resultLine(
  { name, nsPerOp, medianNsPerOp, reference }: Result,
  names: readonly string[],
): string {
  const ours = [time(nsPerOp), time(medianNsPerOp)];
  if (reference === null) return line(name, ours, names);
  const { nsPerOp: least, medianNsPerOp: median } = reference;
  return line(name, [...ours, time(least), time(median), ratio(nsPerOp, least)], names);
}

/** Nanoseconds, as a person reads them. */
export function time(ns: number): string {
  return ns < 1000 ? ns.toFixed(1) : Math.round(ns).toLocaleString("en");
}

export function ratio(ours: number, theirs: number): string {
  return (ours / theirs).toFixed(2);
}

function line(name: string, cells: readonly string[], names: readonly string[]): string {
  const width = Math.max(...names.map(({ length }) => length));
  return [name.padEnd(width), ...cells.map((cell) => cell.padStart(WIDTH))].join("");
}
