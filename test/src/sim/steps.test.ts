import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { FINISHED, finished, type StepKind, step } from "../../../arch/x86/mm/step.ts";
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

describe("the objects that threads yield", () => {
  test("there is one for each kind, made once and used again", () => {
    expect(COMPLETE).toBe(true);
    for (const kind of KINDS) {
      const first = step(kind, 1);
      expect(first).toEqual({ kind, object: 1 });
      expect(step(kind, NONE)).toBe(first);
      expect(first).toEqual({ kind, object: NONE });
    }
    expect(new Set(KINDS.map((kind) => step(kind, 0))).size).toBe(KINDS.length);
  });

  test("another kind's object keeps what it says", () => {
    const lock = step("lock", 20);
    step("blocked", 24);
    expect(lock).toEqual({ kind: "lock", object: 20 });
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
