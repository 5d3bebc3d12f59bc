import { describe, expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import type { RecordStream } from "../../../arch/x86/cpu/record-stream.ts";
import { Auditor } from "../../../src/audit/auditor.ts";
import { RULES, ruleOf } from "../../../src/audit/rules/index.ts";
import { free_page } from "../../../src/mm/page_alloc.ts";
import { rule } from "../../../src/package/audit.ts";
import { kernelOpening, machineOpening } from "../../../src/trace/opening.ts";
import { KINDS, type TraceRecord } from "../../../src/trace/record.ts";
import { LiveWorld } from "../../../src/trace/world.ts";
import { AuditHistory, PROTOCOLS } from "../../support/audit-history.ts";
import { tell } from "../../support/audit-scene.ts";
import { BareSystem, briefly, cachedPage, T } from "../../support/bare-system.ts";
import { recordsOf } from "../../support/played-run.ts";
import { stalePage } from "../../support/stale-page.ts";

const SEEDS = [1, 2, 3];
const RUNS = PROTOCOLS.flatMap((protocol) => SEEDS.map((seed) => ({ protocol, seed })));

function isHint({ kind }: TraceRecord): boolean {
  return KINDS[kind].class === "hint";
}

/** The place of each finding, and how often it was found there. */
function places({ findings }: Auditor): unknown[] {
  return findings.map(({ rule, seq, pfn, linear, site, count, moment }) => ({
    rule: rule.id,
    seq,
    pfn,
    linear,
    site,
    count,
    moment,
  }));
}

describe("two listeners", () => {
  test.each(RUNS)(
    "hear the same, whoever comes first (protocol $protocol, seed $seed)",
    ({ protocol, seed }) => {
      const run = (auditorFirst: boolean) => {
        const history = new AuditHistory(seed, protocol);
        const { scene } = history;
        let records: TraceRecord[] | null = auditorFirst ? null : recordsOf(scene.machine);
        const auditor = scene.audit();
        records ??= recordsOf(scene.machine);
        history.run();
        auditor.finish();
        return { records: JSON.stringify(records), findings: JSON.stringify(auditor.findings) };
      };
      const [first, second] = [run(true), run(false)];
      expect(first.records.length).toBeGreaterThan(100_000);
      expect(first.findings.length).toBeGreaterThan(1000);
      expect(second.records).toBe(first.records);
      expect(second.findings).toBe(first.findings);
    },
  );

  test("two auditors find the same, and neither hinders the other", () => {
    const history = new AuditHistory(1, "b");
    const [one, two] = [history.scene.audit(), history.scene.audit()];
    history.run();
    one.finish();
    expect(JSON.stringify(two.finish())).toBe(JSON.stringify(one.findings));
    expect(one.findings.length).toBeGreaterThan(0);
  });
});

describe("a finding", () => {
  test.each(RUNS)(
    "has the number of the record at hand (protocol $protocol, seed $seed)",
    ({ protocol, seed }) => {
      const history = new AuditHistory(seed, protocol);
      const auditor = history.scene.audit();
      let known = 0;
      // Heard after the auditor: what is new was found at this record.
      const records = history.scene.machine.records as unknown as RecordStream<TraceRecord>;
      records.listen(({ seq, kind }) => {
        for (const { rule, seq: found } of auditor.findings.slice(known)) {
          expect([`rule ${rule.id}`, kind, found]).toEqual([`rule ${rule.id}`, kind, seq]);
        }
        known = auditor.findings.length;
      });
      history.run();
      expect(known).toBeGreaterThan(0);
    },
  );

  test("is of one rule, one place and one moment: the same frame is found again when it is freed again", () => {
    const { kernel, page, store, auditor } = stalePage();
    store(0n);
    free_page(kernel, page);
    kernel.frames.reserve(page);
    free_page(kernel, page);
    expect(briefly(auditor)).toEqual([
      [1, page, ["CPU 0", "CPU 1"]],
      [1, page, ["CPU 0", "CPU 1"]],
    ]);
    expect(auditor.countByRule()).toEqual(new Map([[1, 2]]));
    expect(auditor.causes).toHaveLength(1);
    expect(auditor.causes[0]).toMatchObject({ count: 2, pfns: new Set([page]) });
  });
});

test("what is wrong at two moments is found twice, at one moment once", () => {
  const { kernel, page, store, auditor } = stalePage();
  store(0n);
  for (let i = 0; i < 2; i++) tell(kernel, "write-out", { pfn: page });
  const found = auditor.findings.map(({ rule, agents, count }) => [rule.id, agents, count]);
  expect(found).toEqual([
    [36, ["CPU 0", "CPU 1"], 2],
    [36, ["CPU 0", "CPU 1"], 2],
  ]);
  expect(auditor.findings[1]!.seq).toBeGreaterThan(auditor.findings[0]!.seq);
});

/*
 * Hints help a reader. Without them (a recording need not have them) names are missing, but what is found is the same.
 */
describe("without hints", () => {
  test.each(RUNS)(
    "rule, place and count are the same (protocol $protocol, seed $seed)",
    ({ protocol, seed }) => {
      const history = new AuditHistory(seed, protocol);
      const { scene } = history;
      const { machine, kernel } = scene;
      const opening = kernelOpening(kernel);
      expect(opening.some(isHint)).toBe(true);
      const deaf = new Auditor({
        world: new LiveWorld(machine, kernel.format),
        opening: opening.filter((record) => !isHint(record)),
      });
      let hints = 0;
      const records = machine.records as unknown as RecordStream<TraceRecord>;
      records.listen((record) => {
        if (isHint(record)) hints++;
        else deaf.observe(record);
      });
      const auditor = scene.audit();
      history.run();
      auditor.finish();
      deaf.finish();
      expect(hints).toBeGreaterThan(0);
      expect(auditor.findings.length).toBeGreaterThan(0);
      expect(places(deaf)).toEqual(places(auditor));
      expect(deaf.countByRule()).toEqual(auditor.countByRule());
    },
  );
});

describe("who judges what", () => {
  test("only the rules that it is given", () => {
    const history = new AuditHistory(1, "b");
    const all = history.scene.audit();
    const some = history.scene.audit({ rules: [ruleOf(3), ruleOf(16)] });
    history.run();
    const expected = all.finish().filter(({ rule }) => rule.id === 3 || rule.id === 16);
    expect(expected.length).toBeGreaterThan(0);
    expect(JSON.stringify(some.finish())).toBe(JSON.stringify(expected));
  });

  test("every rule of the table, given by its user, and one of the user's own that names no subjects", () => {
    const history = new AuditHistory(1, "b");
    const all = history.scene.audit();
    const own = rule({
      id: "X1",
      title: "a frame keeps its number",
      when: "page freed",
      source: "this test",
      before: ["page-freed"],
      broken: (_l, { pfn }) => pfn < 0,
      breach: () => {
        throw new TypeError("no frame is below 0");
      },
    });
    const given = history.scene.audit({ rules: [...RULES, own] });
    history.run();
    expect(all.finish().length).toBeGreaterThan(0);
    expect(JSON.stringify(given.finish())).toBe(JSON.stringify(all.findings));
  });

  test("what is no function that tells what the run did not do is refused by name", () => {
    const { machine } = new BareSystem();
    expect(() => new Auditor(machine, { brought: 5 as never })).toThrow(/brought 5: give a function/);
  });

  test("after the end of the run nothing is heard", () => {
    const { machine, auditor, freed } = cachedPage();
    expect(auditor.finish()).toEqual([]);
    freed();
    expect(auditor.findings).toEqual([]);
    expect(machine.records.live).toBe(false);
  });

  test("a recording tells by itself what was freed", () => {
    const { machine } = new BareSystem();
    const auditor = new Auditor({ world: new LiveWorld(machine), opening: machineOpening(machine) });
    expect(() => auditor.pageFreed(Pfn.of(1))).toThrow("a recording tells by itself");
    expect(() => auditor.tableFreed(Pfn.of(1))).toThrow("a recording tells by itself");
  });

  test("an auditor that comes late knows what is loaded, and which PCIDs were", () => {
    const system = new BareSystem();
    const { machine, cpu } = system;
    const [root, other, frame] = [system.root(), system.root(), system.frame()];
    system.map(root, T, frame);
    cpu.setControl({ pcide: true });
    cpu.loadCr3(root, 1);
    cpu.loadCr3(other, 2);
    const auditor = new Auditor(machine);
    system.unmap(root, T);
    cpu.loadCr3(root, 1, true);
    auditor.pageFreed(frame);
    expect(briefly(auditor)).toEqual([["G1", frame, ["CPU 0"]]]);
  });

  test("the command that replays the run is asked for once a finding", () => {
    const scene = new AuditHistory(1, "b");
    const auditor = scene.scene.audit({ replay: ({ rule, seq }) => `rule ${rule.id} at ${seq}` });
    scene.run();
    auditor.finish();
    expect(auditor.findings.length).toBeGreaterThan(0);
    for (const { rule, seq, replay } of auditor.findings) expect(replay).toBe(`rule ${rule.id} at ${seq}`);
  });
});
