import { BENCHMARKS } from "./catalogue.ts";
import { measure, type Order } from "./measure.ts";

/*
 * A process for one benchmark: V8 compiles the hot code for what this benchmark alone does with it, whichever ran
 * before. Run by run.ts, to which it sends what it measured.
 */
const order = JSON.parse(process.argv[2] ?? "{}") as Order;
const benchmark = BENCHMARKS.find(({ name }) => name === order.name);
if (benchmark === undefined || process.send === undefined) throw new Error("started by run.ts alone");
process.send(await measure(benchmark, order));
process.disconnect();
