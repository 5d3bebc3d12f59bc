import { createInterface } from "node:readline";
import { isDefect } from "./defects.ts";
import { Walker, type WireCase } from "./walker.ts";

/** The walker as a program: `main.ts [--defect NAME]`, spoken to as docs/conformance.md says. */
const name = process.argv[process.argv.indexOf("--defect") + 1] ?? "";
const defect = process.argv.includes("--defect") && isDefect(name) ? name : null;
const walker = new Walker(defect);
let greeted = false;
for await (const line of createInterface({ input: process.stdin })) {
  const greeting = { format: "ptescope-conform", version: 1, name: "test walker" };
  console.log(JSON.stringify(greeted ? walker.answer(JSON.parse(line) as WireCase) : greeting));
  greeted = true;
}
