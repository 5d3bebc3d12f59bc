import { describe, expect, it } from "vitest";
import { cpuModel } from "../../src/package/cpu.ts";
import { UPGRADE_RUNS, UpgradeHistory } from "../support/upgrade-history.ts";

const SEED = Number(process.env.PTESCOPE_SEED ?? 1);
const STEPS = 1_000_000;
/** About 55 CPU seconds in all. */
const TIMEOUT_MS = 300_000;

describe("a million steps of histories with upgrades, judged by both oracles", () => {
  it.each(UPGRADE_RUNS)(
    "%s with %o",
    (model, caches) => {
      const steps = Math.ceil(STEPS / UPGRADE_RUNS.length);
      const tally = new UpgradeHistory(cpuModel(model), caches, SEED).run(steps);
      const { accesses, upgrades, stale, spurious, forbidden } = tally;
      console.log(
        `seed ${SEED}: ${steps} steps, ${accesses} accesses, ${upgrades} upgrades, ${stale} stale, ${spurious} spurious`,
      );
      expect(forbidden).toEqual([]);
      if (model.startsWith("amd")) expect(spurious).toBe(0);
      else expect(spurious).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
});
