import { describe, expect, test } from "vitest";
import { Linear, type Pfn } from "../../../../arch/x86/cpu/address.ts";
import type { KernelThread } from "../../../../arch/x86/mm/step.ts";
import { __split_huge_pmd } from "../../../../src/mm/huge_memory.ts";
import { PG } from "../../../../src/mm/mem_map.ts";
import type { Kernel } from "../../../../src/mm/mm_types.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import { pmdSlot } from "../../../../src/mm/page-table.ts";
import { pageout } from "../../../../src/mm/page-writeback.ts";
import type { MmRecord } from "../../../../src/mm/records.ts";
import { try_to_unmap } from "../../../../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS, TTU_MIGRATION } from "../../../../src/mm/ttu-flags.ts";
import { isolate_lru_page, shrink_page_list } from "../../../../src/mm/vmscan.ts";
import { AuditScene } from "../../../support/audit-scene.ts";

/*
 * What a task is in: every call that is entered is left or abandoned, in the order of a stack, also when its thread is
 * stopped or made to fail at any place where it can be. Otherwise the ledger would think for ever that the task is in it.
 */

const A = Linear.of(0x7f00_0020_1000);
const B = Linear.of(0x7f00_0040_0000);
const C = Linear.of(0x7f00_0060_0000);
const ANON = 0x345;
const FILE = 0x346;
const HEAD = 0x400;
const ANON_DIRTY = 0x8000_0000_0034_5847n;
const FILE_DIRTY = 0x8000_0000_0034_6847n;

function pages(notifiers: string) {
  const scene = new AuditScene({ notifiers, memory: "8MiB", swapSlots: 64 });
  const { kernel } = scene;
  const { mem_map } = kernel;
  const mm = scene.mm("mm");
  const [anon, file] = [scene.page(ANON), scene.page(FILE)];
  scene.mapAnon(scene.vma(mm, { at: A, length: 0x1000 }), A, anon, ANON_DIRTY);
  const shared = scene.vma(mm, { at: B, length: 0x1000, shared: true, file: scene.file() });
  scene.mapFile(shared, B, file, FILE_DIRTY);
  const huge = scene.vma(mm, { at: C, length: 0x20_0000 });
  scene.mapHugeAnon(huge, C, scene.compoundPage(HEAD), 0x40_08e7n);
  scene.addListener(mm, "sleeper", A, 0x1000);
  for (const page of [anon, file]) {
    mem_map._refcount[page]!--;
    mem_map.setFlag(page, PG.lru);
    isolate_lru_page(kernel, page);
  }
  return { scene, kernel, mm, huge, anon, file };
}

type Pages = ReturnType<typeof pages>;

function unlocked({ kernel }: Pages, page: Pfn): readonly Pfn[] {
  kernel.mem_map.ClearPageLocked(page);
  return [page];
}

const THREADS: readonly (readonly [string, (made: Pages) => KernelThread<unknown>])[] = [
  ["reclaim of an anonymous page", (made) => shrink_page_list(made.kernel, unlocked(made, made.anon))],
  ["reclaim of a file page", (made) => shrink_page_list(made.kernel, unlocked(made, made.file))],
  ["page_mkclean", ({ kernel, file }) => page_mkclean(kernel, file)],
  ["pageout", ({ kernel, file }) => pageout(kernel, file)],
  [
    "try_to_unmap for migration",
    ({ kernel, anon }) => try_to_unmap(kernel, anon, TTU_MIGRATION | TTU_IGNORE_ACCESS),
  ],
  ["a split", ({ kernel, mm, huge }) => __split_huge_pmd(kernel, huge, pmdSlot(mm, C), C, false, null)],
];

/** Follows the calls of each agent, and holds what ends to what was entered last. */
class Calls {
  entered = 0;
  left = 0;
  abandoned = 0;
  readonly #open = new Map<number, string[]>();

  readonly listener = (record: MmRecord): void => {
    if (record.kind !== "call-entered" && record.kind !== "call-left" && record.kind !== "call-abandoned")
      return;
    const { function: name, pfn, space, agent } = record;
    const stack = this.#open.get(agent) ?? [];
    this.#open.set(agent, stack);
    const call = `${name} of ${pfn} in ${space}`;
    if (record.kind === "call-entered") {
      this.entered++;
      stack.push(call);
      return;
    }
    if (record.kind === "call-left") this.left++;
    else this.abandoned++;
    expect(stack.pop()).toBe(call);
  };

  get open(): readonly string[] {
    return [...this.#open.values()].flat();
  }
}

/** Resumes a thread so many times. Returns whether it has ended by then. */
function advance(kernel: Kernel, thread: KernelThread<unknown>, steps: number): boolean {
  for (let i = 0; i < steps; i++) {
    const next = thread.next();
    if (next.done) return true;
    if (next.value.kind === "ipi-wait") for (const cpu of kernel.machine.cpus) cpu.handleIpis();
  }
  return false;
}

/** One thread, stopped by `stop` at each of its yields in turn, on a kernel of its own each time. */
function stopEverywhere(
  notifiers: string,
  make: (made: Pages) => KernelThread<unknown>,
  stop: (kernel: Kernel, thread: KernelThread<unknown>) => void,
): { stops: number; abandoned: number } {
  let abandoned = 0;
  for (let steps = 0; ; steps++) {
    const made = pages(notifiers);
    const { scene, kernel } = made;
    const calls = new Calls();
    scene.audit();
    kernel.attach(calls.listener);
    kernel.contended = true;
    const thread = make(made);
    const ended = advance(kernel, thread, steps);
    if (!ended) stop(kernel, thread);
    kernel.contended = false;
    const where = `after ${steps} steps`;
    expect(calls.open, where).toEqual([]);
    expect(calls.left + calls.abandoned, where).toBe(calls.entered);
    expect([kernel.current.depth, kernel.current.calls.length > 0 || steps === 0], where).toEqual([0, true]);
    // A bracket that was opened inside goes with its call: nobody is left to close it.
    expect(scene.brokenRules().includes(5), where).toBe(false);
    abandoned += calls.abandoned;
    if (ended) return { stops: steps, abandoned };
  }
}

function runs(protocols: readonly string[]) {
  return protocols.flatMap((protocol) => THREADS.map(([name, make]) => ({ name, protocol, make })));
}

describe("a thread that is stopped at any place", () => {
  test.each(runs(["a0", "b", "c", "d", "e1"]))("$name, protocol $protocol", ({ protocol, make }) => {
    const { stops, abandoned } = stopEverywhere(protocol, make, (_kernel, thread) => {
      expect(thread.return(undefined).done).toBe(true);
    });
    expect(stops).toBeGreaterThan(3);
    expect(abandoned).toBeGreaterThan(0);
  });
});

describe("a thread that fails at any place", () => {
  test.each(runs(["c", "d"]))("$name, protocol $protocol", ({ protocol, make }) => {
    const { stops, abandoned } = stopEverywhere(protocol, make, (kernel, thread) => {
      expect(() => {
        // A range_end that is still owed comes first, and takes steps.
        if (!thread.throw(new RangeError("failed")).done) advance(kernel, thread, Infinity);
      }).toThrow("failed");
    });
    expect(stops).toBeGreaterThan(3);
    expect(abandoned).toBeGreaterThan(0);
  });
});

test("an abandoned call is no site any more: what the task does next is its own", () => {
  const made = pages("d");
  const { scene, kernel, mm, anon } = made;
  const auditor = scene.audit();
  kernel.contended = true;
  const thread = try_to_unmap(kernel, anon, TTU_MIGRATION | TTU_IGNORE_ACCESS);
  for (let kind = ""; kind !== "entry"; ) {
    const next = thread.next();
    if (next.done) throw new Error("the thread ended before its entry");
    kind = next.value.kind;
  }
  thread.return(false);
  kernel.contended = false;
  scene.machine.storeEntry(pmdSlot(mm, A), 0, 0, 0);
  scene.kernel.frames.reserve(anon);
  auditor.pageFreed(anon);
  expect(auditor.findings[0]).toMatchObject({ rule: { id: 1 }, site: "main" });
});
