import { describe, expect, test } from "vitest";
import { Linear } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import { ptep_get_and_clear } from "../../../../arch/x86/mm/ptep.ts";
import { switch_mm } from "../../../../arch/x86/mm/tlb.ts";
import { Auditor } from "../../../../src/audit/auditor.ts";
import {
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
  mmu_notifier_unregister,
} from "../../../../src/mm/mmu_notifier.ts";
import { free_page } from "../../../../src/mm/page_alloc.ts";
import { pteSlot } from "../../../../src/mm/page-table.ts";
import type { TraceRecord } from "../../../../src/trace/record.ts";
import { AuditHistory, PROTOCOLS } from "../../../support/audit-history.ts";
import {
  AT,
  AuditScene,
  ENTRY,
  type ListenerKind,
  PFN,
  setCpumask,
  tell,
} from "../../../support/audit-scene.ts";
import { PlayedRun, playTo, recordsOf } from "../../../support/played-run.ts";

/*
 * Going back to the beginning: afterwards a ledger that has seen a run is as one that has not. It is seen in what is found
 * when the same run is played to it again.
 */

const RUNS = PROTOCOLS.flatMap((protocol) => [1, 2, 3].map((seed) => ({ protocol, seed })));

/** Everything that an auditor says, a line a finding. */
function said({ findings, flushes, truncated }: Auditor): string[] {
  return [...findings, ...flushes.sites(), { truncated }].map((each) => JSON.stringify(each));
}

function record(seed: number, protocol: string): TraceRecord[] {
  const history = new AuditHistory(seed, protocol);
  const records = recordsOf(history.scene.machine);
  history.run();
  return records;
}

/** A world of a kernel that the recorded run can begin on. */
function worldOf(seed: number, protocol: string): PlayedRun {
  return new PlayedRun(new AuditHistory(seed, protocol).scene.kernel);
}

describe("rewinding a whole run", () => {
  test.each(RUNS)("again and again, says the same (protocol $protocol, seed $seed)", ({ protocol, seed }) => {
    const records = record(seed, protocol);
    const [run, other] = [worldOf(seed, protocol), worldOf(seed, protocol)];
    const once = new Auditor(other);
    other.play(once, records);
    const expected = said(once);
    expect(once.findings.length).toBeGreaterThan(0);

    const auditor = new Auditor(run, { rewinds: true });
    run.play(auditor, records);
    expect(said(auditor)).toEqual(expected);
    for (const part of [1, 0.5, 0.1, 0]) {
      auditor.rewind();
      expect([auditor.findings, auditor.causes, auditor.flushes.flushes]).toEqual([[], [], 0]);
      run.play(auditor, records.slice(0, Math.floor(part * records.length)));
      auditor.rewind();
      run.play(auditor, records);
      expect(said(auditor), `after ${part} of the run`).toEqual(expected);
    }
  });

  test("of a live kernel takes its entries back", () => {
    const history = new AuditHistory(1, "b");
    const { scene } = history;
    const [mm] = scene.kernel.mms;
    const entry = () => scene.pte(mm!, 0x7f00_0020_1000);
    const before = entry();
    const auditor = scene.audit({ rewinds: true });
    history.run();
    const expected = said(auditor);
    expect(entry()).not.toBe(before);
    auditor.rewind();
    expect(entry()).toBe(before);
    expect(auditor.findings).toEqual([]);
    // A new kernel's run gives the same to it as its own gave the first time.
    playTo(scene.machine, auditor, record(1, "b"));
    expect(said(auditor)).toEqual(expected);
  });
});

const NEXT = Linear.of(AT + 0x1000);

/** A scene with two pages, perhaps with a listener, that is built in the same way each time. */
function twoPages(kind: ListenerKind | null) {
  const scene = new AuditScene();
  const mm = scene.mm("mm");
  const vma = scene.vma(mm, { at: AT, length: 0x4000 });
  const page = scene.page(PFN);
  const next = scene.page(PFN + 1);
  scene.mapAnon(vma, AT, page, ENTRY);
  scene.mapAnon(vma, NEXT, next, ENTRY + 0x1000n);
  if (kind !== null) scene.addListener(mm, kind, AT, 0x4000);
  return { scene, kernel: scene.kernel, mm, page, next };
}

type TwoPages = ReturnType<typeof twoPages>;

/** What a run that begins on two pages records. */
function recorded(kind: ListenerKind | null, run: (made: TwoPages) => void): TraceRecord[] {
  const made = twoPages(kind);
  const records = recordsOf(made.scene.machine);
  run(made);
  return records;
}

/* Each of these leaves something behind in the ledger that a second run must not find. */
const LEFT_BEHIND: readonly (readonly [string, ListenerKind | null, (made: TwoPages) => void])[] = [
  ["an unpaid debt", null, ({ mm }) => void ptep_get_and_clear(mm, AT, pteSlot(mm, AT))],
  ["a freed page", null, ({ kernel, page }) => free_page(kernel, page)],
  ["a CPU in another mm", null, ({ kernel }) => switch_mm(kernel, 1, kernel.init_mm)],
  ["a mask without a CPU", null, ({ mm }) => setCpumask(mm, [0b01])],
  ["an open range", "kvm", ({ kernel, mm }) => kernel.run(mmu_notifier_invalidate_range_start(mm, AT, NEXT))],
  [
    "counters that have moved",
    "kvm",
    ({ kernel, mm }) => {
      kernel.run(mmu_notifier_invalidate_range_start(mm, AT, NEXT));
      kernel.run(mmu_notifier_invalidate_range_end(mm, AT, NEXT));
    },
  ],
  ["an spte", "kvm", ({ scene }) => scene.storeFromListener(AT, 0x1000)],
  ["a listener", null, ({ scene, mm }) => scene.addListener(mm, "iommu", AT, 0x1000)],
  ["a guest", null, ({ scene, mm }) => scene.addListener(mm, "kvm", AT, 0x1000)],
  [
    "a listener less",
    "iommu",
    ({ scene, kernel, mm }) => kernel.run(mmu_notifier_unregister(scene.iommu!, mm)),
  ],
  ["a guest less", "kvm", ({ scene, kernel, mm }) => kernel.run(mmu_notifier_unregister(scene.kvm!, mm))],
  ["a new mm", null, ({ scene }) => void scene.mm("other")],
  ["an mm less", null, ({ kernel, mm }) => tell(kernel, "address-space-ended", {}, mm)],
  [
    "an open call",
    null,
    ({ kernel, mm, page }) => tell(kernel, "call-entered", { function: "try_to_unmap_one", pfn: page }, mm),
  ],
  [
    "a dirty page",
    null,
    ({ kernel, page }) => tell(kernel, "page-flag", { pfn: page, flag: "dirty", set: true }),
  ],
  ["a lazy CPU", null, ({ kernel, mm }) => tell(kernel, "lazy-entered", {}, mm)],
];

describe("rewinding leaves nothing of", () => {
  /** A run that looks at everything: one page goes and the listeners are told, another goes in silence. */
  const look = ({ scene, kernel, mm, page, next }: TwoPages) => {
    scene.storeFromListener(AT, 0x2000);
    scene.machine.cpu(1).touch(AT, false);
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, NEXT));
    ptep_get_and_clear(mm, AT, pteSlot(mm, AT));
    kernel.run(mmu_notifier_invalidate_range_end(mm, AT, NEXT));
    free_page(kernel, page);
    ptep_get_and_clear(mm, NEXT, pteSlot(mm, NEXT));
    free_page(kernel, next);
  };

  test.each(LEFT_BEHIND)("%s", (_name, kind, leave) => {
    const [first, second] = [recorded(kind, leave), recorded(kind, look)];
    const [one, two] = [new PlayedRun(twoPages(kind).kernel), new PlayedRun(twoPages(kind).kernel)];
    const fresh = new Auditor(one);
    one.play(fresh, second);
    const rewound = new Auditor(two, { rewinds: true });
    two.play(rewound, first);
    rewound.rewind();
    two.play(rewound, second);
    expect(fresh.finish().length).toBeGreaterThan(0);
    rewound.finish();
    expect(said(rewound)).toEqual(said(fresh));
  });
});

test("the end of a run is judged again after rewinding", () => {
  const records = recorded("sleeper", ({ kernel, mm }) => {
    kernel.run(mmu_notifier_invalidate_range_start(mm, AT, NEXT));
  });
  const run = new PlayedRun(twoPages("sleeper").kernel);
  const auditor = new Auditor(run, { rewinds: true });
  for (let i = 0; i < 2; i++) {
    run.play(auditor, records);
    expect(auditor.findings).toEqual([]);
    auditor.finish();
    expect(auditor.findings.map(({ rule, moment }) => [rule.id, moment])).toEqual([[5, "run ended"]]);
    auditor.rewind();
  }
});

describe("what rewinding costs", () => {
  /** Entries read while one page's entry, beside so many others in tables of their own, is taken back. */
  const readsOf = (others: number, changes: number): number => {
    const scene = new AuditScene({ cpus: 1 });
    const mm = scene.mm("mm");
    const vma = scene.vma(mm, { at: AT, length: 0x4000_0000 });
    for (let i = 0; i < others; i++) {
      scene.mapAnon(vma, AT + i * 0x20_0000, scene.page(PFN + i), ENTRY + BigInt(i) * 0x1000n);
    }
    const run = new PlayedRun(scene.kernel);
    const auditor = new Auditor(run, { rewinds: true });
    const records = recordsOf(scene.machine);
    for (let i = 0; i < changes; i++) {
      const slot = pteSlot(mm, AT);
      scene.machine.storeEntry(slot, i % 2 === 0 ? 0 : 0x0123_4067, 0, 0);
    }
    scene.kernel.plantEntry(pteSlot(mm, AT), Entry.fromBigInt(ENTRY));
    run.play(auditor, records);
    run.world.reads = 0;
    auditor.rewind();
    expect(scene.pte(mm, AT)).toBe(ENTRY);
    return run.world.reads;
  };

  test("does not depend on how much there is", () => {
    expect(readsOf(1, 10)).toBe(readsOf(100, 10));
    expect(readsOf(1, 10)).toBe(readsOf(400, 10));
  });

  test("does not grow faster than what was changed", () => {
    const few = readsOf(10, 10);
    expect(few).toBeLessThan(100);
    expect(readsOf(10, 1000)).toBeLessThanOrEqual(100 * Math.max(few, 1));
  });
});
