import { describe, expect, it } from "vitest";
import { CPU_MODELS, cpuModel } from "../../../../../arch/x86/cpu/cpu-model.ts";
import { ALL_PCIDS, type InvalidationScope } from "../../../../../arch/x86/cpu/invalidation-scope.ts";
import type { MachineOptions } from "../../../../../arch/x86/cpu/machine.ts";
import { TLB_POLICIES, type TlbPolicy } from "../../../../../arch/x86/cpu/tlb.ts";
import { TLB_DIRTY } from "../../../../../arch/x86/cpu/tlb-entry.ts";
import { RandomHistory } from "../../../../support/random-history.ts";

const SEED = Number(process.env.PTESCOPE_SEED ?? 20_251);
const STEPS = 1_000_000;

/** Each policy on the CPU that it is named after, and the two without a shape on both vendors' CPUs, with all switches. */
const RUNS: readonly (readonly [string, Partial<MachineOptions>])[] = [
  ...TLB_POLICIES.map((tlb) => [modelFor(tlb), { tlb }] as const),
  ["amd-zen4", { tlb: "stale" }],
  ["intel-sapphire-rapids", { tlb: "stale", levels: 5, pagingStructureCaches: true }],
  ["intel-sapphire-rapids", { tlb: "stale", pagingStructureCaches: true }],
  ["amd-zen4", { tlb: "stale", pagingStructureCaches: true }],
  ["intel-sapphire-rapids", { tlb: "none", pagingStructureCaches: true }],
  ["intel-sapphire-rapids", { tlb: "stale", fractureLargePages: true, pagingStructureCaches: true }],
  [
    "amd-zen4",
    { tlb: "amd-zen4", replacement: "random", fractureLargePages: true, pagingStructureCaches: true },
  ],
];

function modelFor(tlb: TlbPolicy): string {
  return Object.hasOwn(CPU_MODELS, tlb) ? tlb : "intel-sapphire-rapids";
}

describe("no TLB returns what the oracle forbids", () => {
  const each = Math.ceil(STEPS / RUNS.length);
  const total = { steps: 0, stale: 0 };

  it.each(RUNS)("%s with %o", (model, caches) => {
    const { accesses, faults, stale, forbidden } = new RandomHistory(cpuModel(model), caches, SEED).run(each);
    total.steps += each;
    total.stale += stale;
    console.log(`seed ${SEED}: ${each} steps, ${accesses} accesses, ${faults} faults, ${stale} stale`);
    expect(forbidden).toEqual([]);
  });

  it("in a million steps, many of them stale", () => {
    console.log(`seed ${SEED}: ${total.steps} steps, ${total.stale} stale results`);
    expect(total.steps).toBeGreaterThanOrEqual(STEPS);
    expect(total.stale).toBeGreaterThan(STEPS / 100);
  });
});

describe("a TLB that forgets an invalidation is found out", () => {
  const keepsAll: InvalidationScope = { pcid: 4095, page: null, globals: "keep", tables: "keep" };

  it.each<[string, (scope: InvalidationScope) => InvalidationScope]>([
    ["nothing is ever dropped", () => keepsAll],
    [
      "an operation on a page leaves global translations",
      (s) => (s.page === null ? s : { ...s, globals: "keep" }),
    ],
    ["an operation on a context drops nothing", (s) => (s.page === null && s.pcid >= 0 ? keepsAll : s)],
    ["INVPCID 3 drops nothing", (s) => (s.pcid === ALL_PCIDS && s.globals === "keep" ? keepsAll : s)],
    ["an operation on a page drops nothing", (s) => (s.page === null ? s : keepsAll)],
    ["table entries stay at an operation on a page", (s) => (s.page === null ? s : { ...s, tables: "keep" })],
    ["table entries stay when CR3 is loaded", (s) => (s.page === null ? { ...s, tables: "keep" } : s)],
  ])("%s", (_name, broken) => {
    const caches = { tlb: "stale", pagingStructureCaches: true } as const;
    const history = new RandomHistory(cpuModel("amd-zen4"), caches, SEED);
    for (const { tlb, tables } of history.machine.cpus) {
      // The caches, not the CPU: it still records, and so tells the oracle, what it should have dropped.
      for (const cache of [tlb, tables!]) {
        const invalidate = cache.invalidate.bind(cache);
        cache.invalidate = (scope) => invalidate(broken(scope));
      }
    }
    expect(history.run(20_000).forbidden.length).toBeGreaterThan(0);
  });

  it("a store through a clean translation goes where the translation says", () => {
    const history = new RandomHistory(cpuModel("amd-zen4"), { tlb: "stale" }, SEED);
    for (const { tlb } of history.machine.cpus) {
      const flags = tlb.flags.bind(tlb);
      tlb.flags = (slot) => flags(slot) | TLB_DIRTY;
    }
    expect(history.run(20_000).forbidden.length).toBeGreaterThan(0);
  });
});
