import { describe, expect, it } from "vitest";
import { cpuModel, TLB_DIRTY } from "../../../../src/package/cpu.ts";
import { UPGRADE_RUNS, UpgradeHistory } from "../../../support/upgrade-history.ts";

const SEED = Number(process.env.PTESCOPE_SEED ?? 20_252);
/** About 8 CPU seconds in all, most of them the second oracle's. */
const STEPS = 100_000;

describe("histories with upgrades, judged by both oracles", () => {
  it.each(UPGRADE_RUNS)("%s with %o", (model, caches) => {
    const steps = Math.ceil(STEPS / UPGRADE_RUNS.length);
    const started = process.cpuUsage().user;
    const tally = new UpgradeHistory(cpuModel(model), caches, SEED).run(steps);
    const { accesses, upgrades, faults, stale, spurious, forbidden } = tally;
    const seconds = ((process.cpuUsage().user - started) / 1e6).toFixed(1);
    console.log(
      `seed ${SEED}: ${steps} steps, ${accesses} accesses, ${upgrades} upgrades, ${faults} faults, ${stale} stale, ${spurious} spurious; ${seconds} s`,
    );
    expect(forbidden).toEqual([]);
    expect(upgrades).toBeGreaterThan(steps / 10);
    expect(stale).toBeGreaterThan(steps / 200);
    if (model.startsWith("amd")) expect(spurious).toBe(0);
    else expect(spurious).toBeGreaterThan(0);
  });
});

describe("what is wrong with a CPU is found", () => {
  const PSC = { tlb: "stale", pagingStructureCaches: true } as const;

  it("an AMD CPU that reports what its cached entries say", () => {
    const model = { ...cpuModel("amd-zen4"), confirmsFaults: false };
    // The first oracle goes by the model's switch, the second by the vendor alone.
    expect(new UpgradeHistory(model, PSC, SEED).run(3_000).forbidden).not.toEqual([]);
  });

  it("a store through a clean translation that goes where the translation says", () => {
    const history = new UpgradeHistory(cpuModel("intel-sapphire-rapids"), PSC, SEED);
    for (const { tlb } of history.machine.cpus) {
      const flags = tlb.flags.bind(tlb);
      tlb.flags = (slot) => flags(slot) | TLB_DIRTY;
    }
    expect(history.run(3_000).forbidden).not.toEqual([]);
  });

  it("table entries that stay at an operation on a page", () => {
    const history = new UpgradeHistory(cpuModel("amd-zen4"), PSC, SEED);
    for (const { tables } of history.machine.cpus) {
      const invalidate = tables!.invalidate.bind(tables);
      tables!.invalidate = (scope) => invalidate(scope.page === null ? scope : { ...scope, tables: "keep" });
    }
    expect(history.run(3_000).forbidden).not.toEqual([]);
  });
});
