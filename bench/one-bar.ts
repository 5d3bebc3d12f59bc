import { BARS } from "./bars.ts";

/*
 * A process for one bar: what it costs cold, and the most memory that the process had. Run by bars.bench.ts, to which it
 * sends both.
 */
const bar = BARS.find(({ name }) => name === process.argv[2]);
if (bar === undefined || process.send === undefined) throw new Error("started by bars.bench.ts alone");
const { operations, run, remove } = bar.prepare();
try {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  const seconds = (user + system) / 1e6 / operations;
  process.send({ seconds, mebibytes: process.resourceUsage().maxRSS / 1024 });
} finally {
  remove?.();
}
process.disconnect();
