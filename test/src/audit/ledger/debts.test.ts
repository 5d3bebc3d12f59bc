import { describe, expect, test } from "vitest";
import { flush_tlb_mm, flush_tlb_page, switch_mm } from "../../../../arch/x86/mm/tlb.ts";
import { free_page } from "../../../../src/mm/page_alloc.ts";
import { AT, ENTRY } from "../../../support/audit-scene.ts";
import { stalePage } from "../../../support/stale-page.ts";

const OTHER_FRAME = 0x8000_0000_0999_9867n;
const BOTH = ["CPU 0", "CPU 1"];

describe("what makes a debt", () => {
  test.each([
    ["P removed", 0n],
    ["another frame", OTHER_FRAME],
    ["another frame, and W kept away from it", 0x8000_0000_0999_9865n],
  ])("%s", (_name, value) => {
    const { store, staleAtFree } = stalePage();
    store(value);
    expect(staleAtFree()).toEqual(BOTH);
  });

  // The entry stays, and is a finding by itself: what counts here is whether one is about a cached translation.
  test.each([
    ["W removed", ENTRY & ~2n, ENTRY, true],
    ["U removed", ENTRY & ~4n, ENTRY, true],
    ["D cleared", ENTRY & ~0x40n, ENTRY, true],
    ["XD added", ENTRY, ENTRY & ~(1n << 63n), true],
    ["A cleared", ENTRY & ~0x20n, ENTRY, false],
    ["A and D set", ENTRY, ENTRY & ~0x60n, false],
    ["W and U added", ENTRY, ENTRY & ~6n, false],
    ["XD removed", ENTRY & ~(1n << 63n), ENTRY, false],
    ["a software bit changed", ENTRY & ~0x800n, ENTRY, false],
  ])("%s", (_name, value, before, owed) => {
    const { store, cachedAtFree } = stalePage(before);
    store(value);
    expect(cachedAtFree().length > 0).toBe(owed);
  });

  test("a page that was not present makes none", () => {
    const { store, staleAtFree } = stalePage(0x0000_0000_0123_4960n);
    store(0n);
    expect(staleAtFree()).toEqual([]);
  });

  test("an entry with a reserved bit is never cached", () => {
    const { store, staleAtFree } = stalePage(ENTRY | (1n << 51n));
    store(0n);
    expect(staleAtFree()).toEqual([]);
  });

  test("whether A was set does not matter: a CPU may have looked ahead", () => {
    const { store, staleAtFree } = stalePage(ENTRY & ~0x60n);
    store(0n);
    expect(staleAtFree()).toEqual(BOTH);
  });

  test("a page that is still mapped when it is freed is a finding, too", () => {
    const { staleAtFree, auditor } = stalePage();
    expect(staleAtFree()).toEqual(BOTH);
    expect(auditor.findings[0]!.stale!.to).toBe("frame 0x1234 by an entry that is still present");
  });

  test("a frame's second life is judged anew", () => {
    const { machine, kernel, page, store, staleAtFree, auditor } = stalePage();
    store(0n);
    expect(staleAtFree()).toEqual(BOTH);
    machine.cpu(0).invlpg(AT);
    machine.cpu(1).invlpg(AT);
    store(ENTRY);
    store(0n);
    machine.cpu(1).invlpg(AT);
    free_page(kernel, page);
    expect(auditor.findings.map(({ agents }) => agents)).toEqual([BOTH, ["CPU 0"]]);
  });
});

/*
 * Two debts for one address. Whoever holds the translation since the earlier change holds it since then, and that change
 * is to blame; but only if it had all the rights that the later one finds stale.
 */
describe("a second change of an address whose first one is not paid", () => {
  const READ_ONLY = ENTRY & ~0x42n;
  const stores = (values: readonly bigint[]) => {
    const { store, kernel, page, auditor } = stalePage(values[0]!);
    const writes: number[] = [];
    kernel.attach((record) => {
      if (record.kind === "entry-written") writes.push(record.seq);
    });
    for (const value of values.slice(1)) store(value);
    free_page(kernel, page);
    const found = auditor.findings.filter(({ rule }) => rule.id === 1);
    return { found, writes };
  };

  test("is the earlier one's fault when the translation had as many rights then", () => {
    const { found, writes } = stores([ENTRY, 0n, READ_ONLY, 0n]);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ stale: { writable: true, dirty: true }, changed: { seq: writes[0] } });
  });

  test("is its own where the earlier translation had fewer rights", () => {
    const { found, writes } = stores([READ_ONLY, 0n, ENTRY, 0n]);
    expect(found).toHaveLength(1);
    // The newest debt is found first, and is the one by which stores land.
    expect(found[0]).toMatchObject({ stale: { writable: true, dirty: true }, changed: { seq: writes[2] } });
    // Both CPUs, twice: the read-only translation may be cached just as well.
    expect(found[0]!.count).toBe(4);
  });

  test("is its own where the earlier one was of another frame", () => {
    const { found, writes } = stores([OTHER_FRAME, 0n, ENTRY, 0n]);
    expect(found.map(({ changed, count }) => [changed?.seq, count])).toEqual([[writes[2], 2]]);
  });
});

describe("what pays it", () => {
  test("INVLPG, on that CPU", () => {
    const { machine, store, staleAtFree } = stalePage();
    store(0n);
    machine.cpu(0).invlpg(AT + 0x123);
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test("INVLPG of another page pays nothing", () => {
    const { machine, store, staleAtFree } = stalePage();
    store(0n);
    machine.cpu(0).invlpg(AT + 0x1000);
    expect(staleAtFree()).toEqual(BOTH);
  });

  test("a load of CR3, even of the same root", () => {
    const { machine, store, staleAtFree } = stalePage();
    store(0n);
    machine.cpu(1).loadCr3(machine.cpu(1).root);
    expect(staleAtFree()).toEqual(["CPU 0"]);
  });

  test("a switch to another mm, after which the CPU owes nothing of the first", () => {
    const { kernel, store, staleAtFree } = stalePage();
    switch_mm(kernel, 1, kernel.createMm("other"));
    store(0n);
    expect(staleAtFree()).toEqual(["CPU 0"]);
  });

  test("a page fault at the address", () => {
    const { machine, store, staleAtFree } = stalePage();
    store(0n);
    expect(machine.cpu(0).touch(AT, true)).not.toBeNull();
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test("a change of CR4.PGE", () => {
    const { machine, store, staleAtFree } = stalePage();
    store(0n);
    machine.cpu(0).setControl({ pge: false });
    expect(staleAtFree()).toEqual(["CPU 1"]);
  });

  test.each(["page", "mm"])("flush_tlb_%s, on every CPU of the mm", (flush) => {
    const { scene, mm, vma, store, staleAtFree } = stalePage();
    store(0n);
    scene.run(flush === "page" ? flush_tlb_page(vma, AT) : flush_tlb_mm(mm));
    expect(staleAtFree()).toEqual([]);
  });

  test("not a restored entry: the stale one was never invalidated", () => {
    const { store, staleAtFree, auditor } = stalePage();
    store(0n);
    store(OTHER_FRAME);
    expect(staleAtFree()).toEqual(BOTH);
    expect(auditor.findings).toHaveLength(1);
  });
});
