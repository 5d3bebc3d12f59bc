import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import {
  FINISHED,
  finished,
  NEXT_STEP,
  type Step,
  type StepKind,
  step,
  stops,
} from "../../../arch/x86/mm/step.ts";
import { lockTable, tableLockId } from "../../../src/mm/locks.ts";
import { Scene } from "../../support/scene.ts";

const KINDS = [
  "lock",
  "unlock",
  "blocked",
  "entry",
  "flush",
  "ipi-wait",
  "notify",
  "free",
  "io",
  "access",
] as const satisfies readonly StepKind[];
/** Compiles only if no kind is missing above. */
const COMPLETE: [Exclude<StepKind, (typeof KINDS)[number]>] extends [never] ? true : false = true;

describe("the step that a thread names", () => {
  test("is one object for all kinds, which says what was named last", () => {
    expect(COMPLETE).toBe(true);
    for (const kind of KINDS) {
      expect(step(kind, NONE)).toBe(NEXT_STEP);
      expect(NEXT_STEP).toEqual({ kind, object: NONE });
    }
  });

  test("stops a thread if somebody else may run, and if whoever decides says so", () => {
    const asked: Step[] = [];
    const decides = (answer: boolean) => ({ goesOn: (next: Step) => asked.push({ ...next }) > 0 && answer });
    expect(stops({ contended: false, interleaver: decides(false) }, "entry", 8)).toBe(false);
    expect(asked).toEqual([]);
    expect(stops({ contended: true, interleaver: null }, "entry", 16)).toBe(true);
    expect(NEXT_STEP).toEqual({ kind: "entry", object: 16 });
    expect(stops({ contended: true, interleaver: decides(true) }, "lock", 24)).toBe(false);
    expect(stops({ contended: true, interleaver: decides(false) }, "flush", 32)).toBe(true);
    expect(asked).toEqual([
      { kind: "lock", object: 24 },
      { kind: "flush", object: 32 },
    ]);
  });

  test("whoever keeps one longer than until the next has the next one's object", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    kernel.contended = true;
    const [one, two] = [Pfn.of(1), Pfn.of(2)];
    const kept = lockTable(kernel, one, "pte").next().value;
    expect(kept).toEqual({ kind: "lock", object: tableLockId(one) });
    expect(lockTable(kernel, two, "pte").next().value).toBe(kept);
    expect(kept).toEqual({ kind: "lock", object: tableLockId(two) });
  });
});

describe("a thread that is at its end from the start", () => {
  test("yields nothing, however often it is resumed, and returns its value", () => {
    const thread = finished(7);
    expect([thread.next(), thread.next()]).toEqual([
      { done: true, value: 7 },
      { done: true, value: 7 },
    ]);
    expect([...thread]).toEqual([]);
    const { kernel } = new Scene({ memory: "4MiB" });
    expect([kernel.run(thread), kernel.run(FINISHED)]).toEqual([7, undefined]);
  });

  test("delegates, stops and fails as an ended generator does", () => {
    function* delegating() {
      return (yield* finished("value")) as string;
    }
    expect(delegating().next()).toEqual({ done: true, value: "value" });
    expect(finished(7).return(8).done).toBe(true);
    expect(() => finished(7).throw(new RangeError("stopped"))).toThrow("stopped");
  });
});
