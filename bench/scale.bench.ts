import { cpuSeconds } from "./cpu-seconds.ts";
import { exponentOf, GROWTHS, type Growth } from "./scale.ts";

/** The least of some runs, each on a scene of its own. */
const ROUNDS = 3;
/** A logarithm and the caches of the host cost something, too; what is quadratic has 2. */
const MOST = 1.25;

function measure({ name, per, sizes, prepare }: Growth): void {
  // The first one also compiles.
  prepare(sizes[0]!)();
  const seconds = sizes.map((size) =>
    Math.min(...Array.from({ length: ROUNDS }, () => cpuSeconds(prepare(size)))),
  );
  const exponent = exponentOf(sizes, seconds);
  console.log(`  ${name}, ns a ${per}`);
  const each = sizes.map((size, i) => `${size}: ${((seconds[i]! * 1e9) / size).toFixed(0)}`);
  const verdict = exponent > MOST ? ": MISSED" : "";
  console.log(`    ${each.join(", ")}; grows with the power ${exponent.toFixed(2)}${verdict}`);
}

/** What work costs for each of many, as they become more. */
export default async function scaleBench(): Promise<void> {
  console.log(`\nCPU time for each of many, the least of ${ROUNDS}; linear is power 1, at most ${MOST}`);
  for (const growth of GROWTHS) measure(growth);
}
