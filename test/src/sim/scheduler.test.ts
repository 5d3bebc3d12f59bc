import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { type KernelThread, NEXT_STEP, step, stops } from "../../../arch/x86/mm/step.ts";
import { lockTable, unlockTable } from "../../../src/mm/locks.ts";
import { Random } from "../../../src/sim/random.ts";
import { Scheduler } from "../../../src/sim/scheduler.ts";
import { Scene } from "../../support/scene.ts";

function* counting(log: string[], name: string, steps: number): KernelThread<void> {
  for (let i = 0; i < steps; i++) {
    yield step("entry", NONE);
    log.push(name);
  }
}

function interleaving(seed: number): string {
  const { kernel } = new Scene({ memory: "4MiB" });
  const scheduler = new Scheduler(kernel, new Random(seed));
  const log: string[] = [];
  for (const name of ["a", "b", "c"]) {
    scheduler.spawn(kernel.createTask(name, 0), counting(log, name, 8));
  }
  scheduler.run();
  return log.join("");
}

describe("the scheduler", () => {
  test("replays a run from its seed, and runs differently with another", () => {
    expect(interleaving(7)).toBe(interleaving(7));
    expect(interleaving(7)).not.toBe(interleaving(8));
    expect([...interleaving(7)].sort().join("")).toBe("aaaaaaaabbbbbbbbcccccccc");
  });

  test("lets a thread that it would choose again go on, and chooses all others as if it had stopped", () => {
    const run = (seed: number, asks: boolean) => {
      const { kernel } = new Scene({ memory: "4MiB", cpus: 2 });
      const scheduler = new Scheduler(kernel, new Random(seed));
      const log: string[] = [];
      let resumed = 0;
      function* working(name: string): KernelThread<void> {
        for (let i = 0; i < 12; i++) {
          if (!asks || stops(kernel, "entry", i)) yield step("entry", i);
          log.push(name + i);
          if (i % 4 === 0)
            kernel.machine.sendIpi(0, 1, () => void log.push(`interrupt of ${kernel.current.name}`), 0);
          yield* lockTable(kernel, Pfn.of(5), "pte");
          if (!asks || stops(kernel, "entry", i)) yield step("entry", i);
          unlockTable(kernel, Pfn.of(5), "pte");
        }
      }
      for (const [name, daemon] of [
        ["a", false],
        ["b", false],
        ["c", true],
      ] as const) {
        const body = working(name);
        const counted = Object.create(body, {
          next: { value: () => ++resumed && body.next() },
          return: { value: () => body.return() },
        });
        scheduler.spawn(kernel.createTask(name, 0), counted, { weight: daemon ? 1 : 3, daemon });
      }
      scheduler.run();
      return { log, resumed };
    };
    for (let seed = 1; seed <= 20; seed++) {
      const [asking, stopping] = [run(seed, true), run(seed, false)];
      expect(asking.log, `seed ${seed}`).toEqual(stopping.log);
      expect(asking.resumed, `seed ${seed}`).toBeLessThan(stopping.resumed);
    }
  });

  test("is not asked about what a thread drives to its end by itself: the others' order stays", () => {
    const order = (drives: boolean): string => {
      const { kernel } = new Scene({ memory: "4MiB" });
      const scheduler = new Scheduler(kernel, new Random(1));
      const log: string[] = [];
      function* stopping(): KernelThread<void> {
        if (stops(kernel, "entry", NONE)) yield NEXT_STEP;
      }
      function* driving(name: string): KernelThread<void> {
        for (let i = 0; i < 20; i++) {
          yield step("entry", NONE);
          log.push(name);
          if (drives) kernel.run(stopping());
        }
      }
      for (const name of ["a", "b"]) scheduler.spawn(kernel.createTask(name, 0), driving(name));
      scheduler.run();
      return log.join("");
    };
    expect(order(true)).toBe(order(false));
  });

  test("ends when only daemons are left, and stops them", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(1));
    const log: string[] = [];
    scheduler.spawn(kernel.createTask("work", 0), counting(log, "w", 5));
    scheduler.spawn(kernel.createTask("daemon", 1), counting(log, "d", Number.POSITIVE_INFINITY), {
      daemon: true,
    });
    scheduler.run();
    expect(log.filter((name) => name === "w")).toHaveLength(5);
    expect(kernel.contended).toBe(false);
  });

  test("gives a spinlock to one thread at a time", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(3));
    const table = Pfn.of(5);
    let inside = 0;
    let most = 0;
    function* critical(): KernelThread<void> {
      for (let i = 0; i < 20; i++) {
        yield* lockTable(kernel, table, "pte");
        most = Math.max(most, ++inside);
        yield step("entry", NONE);
        inside--;
        unlockTable(kernel, table, "pte");
      }
    }
    scheduler.spawn(kernel.createTask("one", 0), critical());
    scheduler.spawn(kernel.createTask("two", 1), critical());
    scheduler.run();
    expect(most).toBe(1);
  });

  test("delivers interrupts between steps, and a sender can wait for them", () => {
    const { kernel, machine } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(5));
    const handled: number[] = [];
    function* sender(): KernelThread<void> {
      const ipi = machine.sendIpi(0, 1, (cpu) => handled.push(cpu.id));
      while (!ipi.done) yield step("ipi-wait", NONE);
    }
    scheduler.spawn(kernel.createTask("sender", 0), sender());
    scheduler.run();
    expect(handled).toEqual([1]);
  });

  test.each([1, 2, 3])("chooses a thread as often as its weight says (seed %i)", (seed) => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(seed));
    const log: string[] = [];
    for (const [name, weight] of [
      ["heavy", 8],
      ["light", 1],
    ] as const) {
      const body = counting(log, name, Number.POSITIVE_INFINITY);
      scheduler.spawn(kernel.createTask(name, 0), body, { weight, daemon: true });
    }
    scheduler.spawn(kernel.createTask("clock", 1), counting(log, "clock", 1000));
    scheduler.run();
    const times = (name: string) => log.filter((each) => each === name).length;
    // Expected 8000 and 1000: more than ten standard deviations of room, and far from equal shares.
    expect(times("heavy")).toBeGreaterThan(6500);
    expect(times("heavy")).toBeLessThan(9500);
    expect(times("light")).toBeGreaterThan(700);
    expect(times("light")).toBeLessThan(1300);
  });

  test("gives its weight back to a thread that has waited", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(4));
    const log: string[] = [];
    function* waitsNowAndThen(): KernelThread<void> {
      for (;;) {
        yield step("blocked", NONE);
        yield step("entry", NONE);
        log.push("heavy");
      }
    }
    scheduler.spawn(kernel.createTask("heavy", 0), waitsNowAndThen(), { weight: 20, daemon: true });
    scheduler.spawn(kernel.createTask("clock", 1), counting(log, "clock", 1000));
    scheduler.run();
    // It waits for the clock's next step each time, and is then chosen before the one after that.
    expect(log.filter((name) => name === "heavy").length).toBeGreaterThan(700);
  });

  test("names the threads of a deadlock and the seed", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(9));
    const [one, two] = [Pfn.of(1), Pfn.of(2)];
    function* grab(first: Pfn, second: Pfn): KernelThread<void> {
      yield* lockTable(kernel, first, "pte");
      for (let i = 0; i < 50; i++) yield step("entry", NONE);
      yield* lockTable(kernel, second, "pte");
    }
    scheduler.spawn(kernel.createTask("ab", 0), grab(one, two));
    scheduler.spawn(kernel.createTask("ba", 1), grab(two, one));
    expect(() => scheduler.run()).toThrow("deadlock: ab, ba wait for each other (seed 9)");
  });

  test("finds a deadlock although daemons go on for ever", () => {
    const { kernel } = new Scene({ memory: "4MiB" });
    const scheduler = new Scheduler(kernel, new Random(2));
    function* waiting(): KernelThread<void> {
      for (;;) yield step("blocked", NONE);
    }
    scheduler.spawn(kernel.createTask("stuck", 0), waiting());
    scheduler.spawn(kernel.createTask("daemon", 1), counting([], "d", Number.POSITIVE_INFINITY), {
      daemon: true,
    });
    expect(() => scheduler.run()).toThrow("deadlock: stuck waits");
  });
});

describe("the generator of random numbers", () => {
  test("is the same for the same seed and never stands still, not even for 0", () => {
    const numbers = (seed: number) => {
      const random = new Random(seed);
      return Array.from({ length: 100 }, () => random.next());
    };
    expect(numbers(1)).toEqual(numbers(1));
    expect(numbers(1)).not.toEqual(numbers(2));
    expect(new Set(numbers(0)).size).toBe(100);
  });

  test("shuffles without losing anything", () => {
    const items = Array.from({ length: 50 }, (_, i) => i);
    const shuffled = new Random(4).shuffle([...items]);
    expect(shuffled).not.toEqual(items);
    expect(shuffled.sort((x, y) => x - y)).toEqual(items);
  });

  test("refuses a bound below 1", () => {
    expect(() => new Random(1).below(0)).toThrow("give a bound of 1 or more");
  });
});
