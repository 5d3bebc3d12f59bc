import { describe, expect, test } from "vitest";
import { Linear, NO_PFN, NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import type { KernelThread } from "../../../arch/x86/mm/step.ts";
import { enter, leave } from "../../../src/mm/calls.ts";
import { __split_huge_pmd } from "../../../src/mm/huge_memory.ts";
import type { Kernel } from "../../../src/mm/kernel.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { page_mkclean } from "../../../src/mm/page_mkclean.ts";
import { page_referenced } from "../../../src/mm/page_referenced.ts";
import { pmdSlot } from "../../../src/mm/page-table.ts";
import { pageout } from "../../../src/mm/page-writeback.ts";
import type { MmRecord, MmRecordOf } from "../../../src/mm/records.ts";
import { try_to_unmap } from "../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS, TTU_MIGRATION } from "../../../src/mm/ttu-flags.ts";
import { isolate_lru_page, shrink_page_list } from "../../../src/mm/vmscan.ts";
import { Random } from "../../../src/sim/random.ts";
import { Scheduler } from "../../../src/sim/scheduler.ts";
import { Scene, type SceneOptions } from "../../support/scene.ts";
import { advance } from "../../support/steps.ts";

const a = Linear.of(0x7f00_0020_1000);
const b = Linear.of(0x7f00_0040_0000);
const ANON = Pfn.of(0x345);
const FILE = Pfn.of(0x346);
const ANON_DIRTY = 0x8000_0000_0034_5847n;
const FILE_DIRTY = 0x8000_0000_0034_6847n;

type CallRecord = MmRecordOf<"call-entered"> | MmRecordOf<"call-left"> | MmRecordOf<"call-abandoned">;

function isCall(record: MmRecord): record is CallRecord {
  return record.kind === "call-entered" || record.kind === "call-left" || record.kind === "call-abandoned";
}

/**
 * Writes the calls down, one line each when it ends, and holds them to their order: what ends is what the agent
 * entered last, with the same page, space and CPU.
 */
class CallLog {
  /** `try_to_unmap_one = 1`, indented by its depth; `!` for one that was abandoned. */
  readonly ended: string[] = [];
  readonly agents = new Set<number>();
  readonly #open = new Map<number, CallRecord[]>();
  entered = 0;
  #seq = 0;

  readonly listener = (record: MmRecord): void => {
    // Of every record, so that a reader can put them in order.
    expect(record.seq).toBeGreaterThan(this.#seq);
    this.#seq = record.seq;
    if (!isCall(record)) return;
    const stack = this.#open.get(record.agent) ?? [];
    this.#open.set(record.agent, stack);
    this.agents.add(record.agent);
    if (record.kind === "call-entered") {
      this.entered++;
      stack.push(record);
      return;
    }
    const last = stack.pop();
    const { function: name, pfn, space, cpu, agent } = record;
    expect(last).toMatchObject({ function: name, pfn, space, cpu, agent });
    const how = record.kind === "call-left" ? `= ${record.result}` : "!";
    this.ended.push(`${"  ".repeat(stack.length)}${name} ${how}`);
  };

  /** Calls that are entered and have not ended. */
  get open(): number {
    return [...this.#open.values()].reduce((sum, stack) => sum + stack.length, 0);
  }
}

/** An anonymous page at `a` and a page of a shared file at `b`, isolated for reclaim; both were written. */
function twoPages(options: SceneOptions = {}) {
  const scene = new Scene(options);
  const { kernel } = scene;
  const { mem_map } = kernel;
  const mm = scene.mm();
  scene.mapAnon(scene.vma(mm, { at: a, length: 0x1000 }), a, scene.page(ANON), ANON_DIRTY);
  const file = scene.file();
  scene.mapFile(
    scene.vma(mm, { at: b, length: 0x1000, shared: true, file }),
    b,
    scene.page(FILE),
    FILE_DIRTY,
  );
  for (const page of [ANON, FILE]) {
    mem_map.ClearPageLocked(page);
    mem_map._refcount[page]!--;
    mem_map.setFlag(page, PG.lru);
    isolate_lru_page(kernel, page);
  }
  const log = new CallLog();
  kernel.attach(log.listener);
  return { scene, kernel, mem_map, mm, file, log };
}

function depths(kernel: Kernel): number[] {
  return [kernel.current.depth, kernel.current.locksHeld];
}

describe("calls that return are paired and nested", () => {
  test.each(["a0", "c", "b", "d", "e1"])("reclaim of an anonymous page, protocol %s", (notifiers) => {
    const { kernel, log } = twoPages({ notifiers });
    expect(kernel.run(shrink_page_list(kernel, [ANON])).freed).toEqual([ANON]);
    expect(log.ended).toEqual([
      "    page_referenced_one = 0",
      "  page_referenced = 0",
      "    try_to_unmap_one = 1",
      "  try_to_unmap = 1",
      "  try_to_unmap_flush = 1",
      "  pageout = 1",
      "shrink_page_list = 1",
    ]);
    expect([log.open, log.entered, ...depths(kernel)]).toEqual([0, 7, 0, 0]);
    expect([...log.agents]).toEqual([kernel.current.id]);
  });

  test("write-out and reclaim of a file page", () => {
    const { kernel, mem_map, log } = twoPages();
    mem_map.SetPageLocked(FILE);
    expect(kernel.run(pageout(kernel, FILE))).toBe(true);
    mem_map.ClearPageLocked(FILE);
    expect(kernel.run(shrink_page_list(kernel, [FILE])).freed).toEqual([FILE]);
    expect(log.ended).toEqual([
      "    page_mkclean_one = 1",
      "  page_mkclean = 1",
      "pageout = 1",
      "    page_referenced_one = 0",
      "  page_referenced = 0",
      "    try_to_unmap_one = 1",
      "  try_to_unmap = 1",
      "  try_to_unmap_flush = 1",
      "shrink_page_list = 1",
    ]);
    expect([log.open, log.entered, ...depths(kernel)]).toEqual([0, 9, 0, 0]);
  });

  test("what a call says of itself: the page, and the mm where it works on one", () => {
    const { kernel, mm } = twoPages();
    const calls: unknown[] = [];
    kernel.attach((record) => {
      if (isCall(record)) calls.push({ ...record, seq: 0 });
    });
    kernel.run(page_referenced(kernel, FILE, false));
    const header = { seq: 0, agent: kernel.current.id, cpu: 0, pfn: FILE };
    expect(calls).toEqual([
      { kind: "call-entered", ...header, space: NONE, function: "page_referenced" },
      { kind: "call-entered", ...header, space: mm.id, function: "page_referenced_one" },
      { kind: "call-left", ...header, space: mm.id, function: "page_referenced_one", result: 0 },
      { kind: "call-left", ...header, space: NONE, function: "page_referenced", result: 0 },
    ]);
  });

  test("two tasks reclaim at once: each agent's calls nest by themselves", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { kernel, log } = twoPages({ notifiers: "d" });
      const scheduler = new Scheduler(kernel, new Random(seed));
      const tasks = [kernel.createTask("kswapd0", 0), kernel.createTask("kswapd1", 1)];
      scheduler.spawn(tasks[0]!, shrink_page_list(kernel, [ANON]));
      scheduler.spawn(tasks[1]!, shrink_page_list(kernel, [FILE]));
      scheduler.run();
      expect([log.open, log.entered], `seed ${seed}`).toEqual([0, 14]);
      expect([...log.agents].sort(), `seed ${seed}`).toEqual(tasks.map(({ id }) => id));
      expect(tasks.map(({ depth }) => depth)).toEqual([0, 0]);
    }
  });

  test("a split is a call, without a page if it is of whatever the pmd maps", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: b, length: 0x20_0000 });
    scene.mapHugeAnon(vma, b, scene.compoundPage(0x400), 0x40_08e7n);
    const entered: unknown[] = [];
    kernel.attach((record) => {
      if (record.kind === "call-entered") entered.push([record.function, record.pfn, record.space]);
    });
    const log = new CallLog();
    kernel.attach(log.listener);
    kernel.run(__split_huge_pmd(kernel, vma, pmdSlot(mm, b), b, false, null));
    expect(entered).toEqual([["__split_huge_pmd", NO_PFN, mm.id]]);
    expect([log.ended, log.open]).toEqual([["__split_huge_pmd = 1"], 0]);
  });
});

/** Resumes a thread until it stands in front of an entry. */
function runToEntry(kernel: Kernel, thread: KernelThread<unknown>): void {
  kernel.contended = true;
  for (let kind = advance(thread); kind !== "entry"; kind = advance(thread)) expect(kind).not.toBe("end");
}

describe("a thread that is stopped abandons its calls", () => {
  test("the innermost first, in the name of the task that made them, while another one is current", () => {
    const { kernel, mem_map, mm } = twoPages();
    mem_map.SetPageLocked(ANON);
    const stopped = kernel.createTask("stopped", 1);
    const other = kernel.current;
    kernel.current = stopped;
    const thread = try_to_unmap(kernel, ANON, TTU_MIGRATION | TTU_IGNORE_ACCESS);
    runToEntry(kernel, thread);
    expect([stopped.depth, other.depth]).toEqual([2, 0]);

    kernel.current = other;
    const calls: unknown[] = [];
    kernel.attach((record) => {
      if (isCall(record)) calls.push({ ...record, seq: 0 });
    });
    // The other task is in a call of its own, which stays open.
    enter(kernel.current, "page_referenced", FILE, null);
    thread.return(false);
    const header = { seq: 0, agent: stopped.id, cpu: 1, pfn: ANON };
    expect(calls.slice(1)).toEqual([
      { kind: "call-abandoned", ...header, space: mm.id, function: "try_to_unmap_one" },
      { kind: "call-abandoned", ...header, space: NONE, function: "try_to_unmap" },
    ]);
    expect([stopped.depth, other.depth, kernel.current]).toEqual([0, 1, other]);
    leave(other, true);
    expect(calls).toHaveLength(4);
  });

  test("every function between the list and the entry", () => {
    const { kernel, log } = twoPages();
    const stopped = kernel.createTask("stopped", 1);
    const other = kernel.current;
    kernel.current = stopped;
    const thread = shrink_page_list(kernel, [ANON]);
    runToEntry(kernel, thread);
    kernel.current = other;
    thread.return({ freed: [], kept: new Map() });
    expect(log.ended).toEqual(["    page_referenced_one !", "  page_referenced !", "shrink_page_list !"]);
    expect([log.open, [...log.agents], stopped.depth]).toEqual([0, [stopped.id], 0]);
  });

  test("one that has not begun has no calls, and one that has ended none left", () => {
    const { kernel, mem_map, log } = twoPages();
    mem_map.SetPageLocked(ANON);
    try_to_unmap(kernel, ANON, TTU_IGNORE_ACCESS).return(false);
    expect(log.entered).toBe(0);
    const thread = try_to_unmap(kernel, ANON, TTU_MIGRATION | TTU_IGNORE_ACCESS);
    kernel.run(thread);
    thread.return(false);
    expect(log.ended).toEqual(["  try_to_unmap_one = 1", "try_to_unmap = 1"]);
  });
});

describe("a call that throws is abandoned", () => {
  test.each(["c", "d"])("by a listener's callback inside page_mkclean, protocol %s", (notifiers) => {
    const { scene, kernel, mem_map, mm, file, log } = twoPages({ notifiers });
    mem_map.SetPageLocked(FILE);
    let broken = true;
    const fail = () => {
      if (!broken) return;
      broken = false;
      throw new RangeError("broken listener");
    };
    scene.listen(mm, "broken", notifiers === "c" ? { invalidate_page: fail } : { invalidate_range: fail });
    expect(() => kernel.run(page_mkclean(kernel, FILE))).toThrow("broken listener");
    expect(log.ended).toEqual(["  page_mkclean_one !", "page_mkclean !"]);
    expect([log.open, ...depths(kernel), file.i_mmap_rwsem.readers]).toEqual([0, 0, 0, 0]);
    // The next one is none the worse for it; the entry was cleaned before the listener was told.
    kernel.run(page_mkclean(kernel, FILE));
    expect(log.ended.slice(2)).toEqual(["  page_mkclean_one = 0", "page_mkclean = 0"]);
  });

  test("while nobody listens, depth follows all the same", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const { current } = kernel;
    enter(current, "pageout", ANON, null);
    enter(current, "page_mkclean", ANON, null);
    expect([current.depth, current.calls.map((call) => call.function)]).toEqual([
      2,
      ["pageout", "page_mkclean"],
    ]);
    leave(current, 0);
    leave(current, false);
    expect(current.depth).toBe(0);
    expect(() => leave(current, true)).toThrow(/task main leaves a function that it has not entered/);
  });
});
