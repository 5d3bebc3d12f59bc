import { describe, expect, test } from "vitest";
import type { Cpu } from "../../../../arch/x86/cpu/cpu.ts";
import { invpcid } from "../../../../arch/x86/cpu/invalidation.ts";
import { cachedPage, done, T } from "../../../support/bare-system.ts";

/* G1 where the debts are of a PCID that is not loaded, and G3, on machines that no known system runs on. */

const CONVICTED = ["G1"];
const NOTHING: string[] = [];

describe("G1: a PCID that is not loaded", () => {
  /** The page is freed while PCID 2 is loaded, then PCID 1 comes back. */
  const away = (between: (cpu: Cpu) => void, keepThere: boolean, keepBack: boolean) => {
    const { cpu, root, other, auditor, freed } = cachedPage();
    cpu.loadCr3(other, 2, keepThere);
    between(cpu);
    freed();
    expect(auditor.findings).toEqual([]);
    cpu.loadCr3(root, 1, keepBack);
    return auditor.findings.map(({ rule }) => rule.id);
  };

  test.each([true, false])(
    "is not flushed by a load of another one, whether that one keeps (%s) or not",
    (keep) => {
      expect(away(() => {}, keep, true)).toEqual(CONVICTED);
    },
  );

  test("is found once, however often it comes back", () => {
    const { cpu, root, other, auditor, freed } = cachedPage();
    cpu.loadCr3(other, 2, true);
    freed();
    for (let i = 0; i < 3; i++) {
      cpu.loadCr3(root, 1, true);
      cpu.loadCr3(other, 2, true);
    }
    expect(auditor.findings).toHaveLength(1);
    expect(auditor.findings[0]!.moment).toBe("PCID loaded, not flushed since: page freed");
  });

  test("is in order when it is loaded without the no-flush bit", () => {
    expect(away(() => {}, true, false)).toEqual(NOTHING);
  });

  test.each<[string, string[], (cpu: Cpu) => void]>([
    ["INVPCID 1 of it", NOTHING, (cpu) => done(invpcid(cpu, 1, 1))],
    ["INVPCID 0 of it", NOTHING, (cpu) => done(invpcid(cpu, 0, 1, T))],
    ["INVPCID 3", NOTHING, (cpu) => done(invpcid(cpu, 3, 0))],
    ["INVPCID 1 of the loaded one", CONVICTED, (cpu) => done(invpcid(cpu, 1, 2))],
    ["INVLPG, which is of the loaded one", CONVICTED, (cpu) => cpu.invlpg(T)],
    ["CR4.SMEP, which is of the loaded one", CONVICTED, (cpu) => done(cpu.setControl({ smep: true }))],
  ])("%s meanwhile: %j", (_name, rules, between) => {
    expect(away(between, true, true)).toEqual(rules);
  });
});

describe("G3: a PCID for another address space", () => {
  const loaded = (between: (cpu: Cpu) => void, keep: boolean) => {
    const { cpu, other, auditor } = cachedPage();
    between(cpu);
    cpu.loadCr3(other, 1, keep);
    return auditor.findings.map(({ rule, agent }) => [rule.id, agent]);
  };

  test.each<[string, boolean, (cpu: Cpu) => void]>([
    ["with the no-flush bit", true, () => {}],
    ["with it, after a flush of another PCID", true, (cpu) => done(invpcid(cpu, 1, 2))],
    ["with it, after a flush of one page", true, (cpu) => done(invpcid(cpu, 0, 1, T))],
    // The root is still loaded, so that a CPU may walk it again at once.
    ["with it, after a flush of it while its root was loaded", true, (cpu) => done(invpcid(cpu, 1, 1))],
  ])("%s: found", (_name, keep, between) => {
    expect(loaded(between, keep)).toEqual([["G3", "CPU 0"]]);
  });

  test("without the no-flush bit: in order", () => {
    expect(loaded(() => {}, false)).toEqual([]);
  });

  test("with it, after a flush while another PCID was loaded: in order", () => {
    const { cpu, other, system, auditor } = cachedPage();
    cpu.loadCr3(system.root(), 2, true);
    done(invpcid(cpu, 1, 1));
    cpu.loadCr3(other, 1, true);
    expect(auditor.findings).toEqual([]);
  });

  test("with it, for the same root again: in order", () => {
    const { cpu, root, other, auditor } = cachedPage();
    cpu.loadCr3(other, 2);
    cpu.loadCr3(root, 1, true);
    expect(auditor.findings).toEqual([]);
  });

  test("names the root whose translations stay", () => {
    const { cpu, root, other, auditor } = cachedPage();
    cpu.loadCr3(other, 1, true);
    expect(auditor.findings[0]!.stale!.to).toContain(`0x${root.toString(16)}`);
    expect(auditor.findings[0]!.stale!.to).toContain("PCID 1");
  });
});
