import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { median } from "./measure.ts";

/** Few enough operations that no collection comes between them: a young generation begins with a mebibyte. */
const OPERATIONS = 200;
const BATCHES = 31;

/**
 * Bytes that an operation allocates, the median of some batches of them, each after a collection; the operations are numbered
 * on. Code that has not been compiled yet allocates more: call it when it has.
 */
export function bytesPerOperation(operation: (number: number) => void): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const batches = Array.from({ length: BATCHES }, (_, batch) => {
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < OPERATIONS; i++) operation(batch * OPERATIONS + i);
    return (process.memoryUsage().heapUsed - before) / OPERATIONS;
  });
  return median(batches);
}
