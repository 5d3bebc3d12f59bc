import auditBench from "./audit.bench.ts";
import cpuBench from "./cpu.bench.ts";
import entryBench from "./entry.bench.ts";
import rmapBench from "./rmap.bench.ts";

/** Every suite by name, in the order in which they run; the audit first, while the process is cold. */
const SUITES: Readonly<Record<string, () => Promise<void>>> = {
  audit: auditBench,

  entry: entryBench,
  cpu: cpuBench,
  rmap: rmapBench,
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(SUITES, name));
if (unknown.length > 0) {
  console.error(`bench: unknown suite ${unknown.join(", ")}: known are ${Object.keys(SUITES).join(", ")}`);
  process.exitCode = 2;
} else {
  console.log(`Node ${process.version}, ${process.platform} ${process.arch}`);
  for (const [name, run] of Object.entries(SUITES)) {
    if (wanted.length === 0 || wanted.includes(name)) await run();
  }
}
