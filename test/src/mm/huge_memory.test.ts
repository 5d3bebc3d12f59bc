import { describe, expect, test } from "vitest";
import { Linear, Pfn, Slot } from "../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import {
  __split_huge_pmd,
  pgtable_trans_huge_deposit,
  pgtable_trans_huge_withdraw,
  set_huge_zero_page,
  split_huge_pmd,
  split_huge_pmd_address,
} from "../../../src/mm/huge_memory.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { remove_migration_ptes } from "../../../src/mm/migrate.ts";
import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES } from "../../../src/mm/mm_struct.ts";
import { ensurePmdSlot, pmdSlot, tableOf } from "../../../src/mm/page-table.ts";
import { get_huge_zero_page, is_huge_zero_pmd, my_zero_pfn } from "../../../src/mm/zero-page.ts";
import { Scene, type SceneOptions } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

const h = Linear.of(0x7f00_0020_0000);
const HEAD = Pfn.of(0x40000);
const BIG: SceneOptions = { memory: "1056MiB" };

function thp(entry: bigint, options: SceneOptions & { prot?: string; head?: number } = {}) {
  const scene = new Scene(options);
  const { kernel } = scene;
  const mm = scene.mm();
  const vma = scene.vma(mm, { at: h, length: 0x20_0000, prot: options.prot ?? "rw" });
  const head = scene.compoundPage(options.head ?? 0x400);
  scene.mapHugeAnon(vma, h, head, entry);
  scene.listen(mm, "K", {});
  const trace = new Trace({ names: { h } });
  kernel.attach(trace.observer);
  const split = (freeze = false, page = head) =>
    kernel.run(__split_huge_pmd(kernel, vma, pmdSlot(mm, h), Linear.of(h + 0x12_3000), freeze, page));
  const ptes = () => Array.from({ length: 512 }, (_, i) => scene.pte(mm, h + i * 4096));
  return { scene, kernel, mem_map: kernel.mem_map, mm, vma, head, trace, split, ptes };
}

describe("T18: split of the only pmd mapping, writable, dirty and young", () => {
  test("exact values", () => {
    const { scene, mem_map, mm, trace, split, ptes, kernel } = thp(0x8000_0000_4000_08e7n, {
      ...BIG,
      head: HEAD,
    });
    const table = (mm.deposited.get(tableOf(pmdSlot(mm, h))) ?? [])[0]!;
    for (const cpu of kernel.machine.cpus) cpu.load(h);
    split();
    // The huge translation is gone before the small ones can be cached.
    expect(trace.toString()).toBe(
      "NS[h,+2M) L+(pmd) SPD S(0x80000000400008e6) F(full) " +
        `S(0x${(BigInt(table) * 4096n + 0x67n).toString(16).padStart(16, "0")}) L-(pmd) NE[h,+2M)`,
    );
    expect(ptes()).toEqual(
      Array.from({ length: 512 }, (_, i) => 0x8000_0000_4000_0827n + BigInt(i) * 0x1000n),
    );
    expect(scene.pmd(mm, h)).toBe(BigInt(table) * 4096n + 0x67n);
    expect([mem_map._refcount[HEAD], mem_map.compound_mapcount[HEAD]]).toEqual([2 + 511, -1]);
    expect(new Set(mem_map._mapcount.subarray(HEAD, HEAD + 512))).toEqual(new Set([0]));
    expect([mem_map.PageDirty(Pfn.of(HEAD + 5)), mm.rss_stat[MM_ANONPAGES]]).toEqual([true, 512]);
    // 66: the spare table is used exactly once.
    expect(() => pgtable_trans_huge_withdraw(mm, pmdSlot(mm, h))).toThrow(TypeError);
  });

  test.each([
    ["read-only", 0x40_08e5n, "rw", 0x8000_0000_0040_0825n, true],
    ["clean", 0x40_00a7n, "rw", 0x8000_0000_0040_0027n, false],
    ["old", 0x40_0087n, "rw", 0x8000_0000_0040_0007n, false],
    ["not soft-dirty", 0x40_00e7n, "rw", 0x8000_0000_0040_0027n, true],
    ["executable", 0x40_08e7n, "rwx", 0x40_0827n, true],
    ["writable in a vma that no longer is", 0x40_08e7n, "r", 0x8000_0000_0040_0825n, true],
  ])("%s", (_what, entry, prot, first, dirty) => {
    const { mem_map, head, split, ptes } = thp(entry, { prot });
    split();
    expect(ptes()[0]).toBe(first);
    expect(ptes()[511]).toBe(first + 511n * 0x1000n);
    expect(mem_map.PageDirty(head)).toBe(dirty);
  });

  test("20, 21: the CPUs drop the 2M translation in between and never hold both sizes", () => {
    const { kernel, split } = thp(0x40_08e7n);
    const { cpus } = kernel.machine;
    for (const cpu of cpus) cpu.load(h + 0x5000);
    const levels: number[][] = [];
    kernel.attach((record) => {
      if (record.kind !== "entry-written") return;
      for (const cpu of cpus) cpu.load(h + 0x5000);
      levels.push(cpus.flatMap((cpu) => cpu.tlb.entries().map((entry) => entry.level)));
    });
    split();
    // P cleared: still cached. Table in place: small only.
    expect(levels).toEqual([
      [2, 2],
      [1, 1],
    ]);
  });

  test("mlock is taken away", () => {
    const { mem_map, head, split } = thp(0x40_08e7n);
    mem_map.setFlag(head, PG.mlocked);
    split();
    expect(mem_map.PageMlocked(head)).toBe(false);
  });

  test("a page that is not the one mapped is left alone, inside the brackets", () => {
    const { trace, split, scene, mm } = thp(0x40_08e7n);
    split(false, Pfn.of(0x600));
    expect(trace.toString()).toBe("NS[h,+2M) L+(pmd) L-(pmd) NE[h,+2M)");
    expect(scene.pmd(mm, h)).toBe(0x40_08e7n);
  });
});

describe("freeze: 512 migration entries", () => {
  test("the migration entries of a split, and the counts: head 2, 513 after the split, 1 after 512 puts", () => {
    const { mem_map, mm, split, ptes, kernel } = thp(0x8000_0000_4000_08e7n, { ...BIG, head: HEAD });
    let most = 0;
    kernel.attach(() => {
      most = Math.max(most, mem_map._refcount[HEAD]!);
    });
    expect(mem_map._refcount[HEAD]).toBe(2);
    split(true);
    expect(most).toBe(513);
    expect([mem_map._refcount[HEAD], mem_map.total_mapcount(HEAD)]).toEqual([1, 0]);
    expect(ptes().slice(0, 3)).toEqual([0x1_0000_3e80n, 0x1_0000_7e80n, 0x1_0000_be80n]);
    // A migrating page is still counted.
    expect(mm.rss_stat[MM_ANONPAGES]).toBe(512);
  });

  test("a read-only mapping freezes to read entries", () => {
    const { split, ptes } = thp(0x40_00a5n);
    split(true);
    expect(ptes()[1]).toBe((0x401n << 14n) | (30n << 9n));
  });

  test("remove_migration_ptes gives all 512 mappings back", () => {
    const { kernel, mem_map, head, split, ptes } = thp(0x40_08e7n);
    split(true);
    for (let i = 0; i < 512; i++) {
      const page = Pfn.of(head + i);
      kernel.run(remove_migration_ptes(kernel, page, page, false));
    }
    expect(ptes()).toEqual(
      Array.from({ length: 512 }, (_, i) => 0x8000_0000_0040_0807n + BigInt(i) * 0x1000n),
    );
    expect([mem_map.total_mapcount(head), mem_map._refcount[head]]).toEqual([512, 513]);
  });
});

describe("a file's huge pmd", () => {
  test.each([
    ["young", 0x40_00e7n, true],
    ["old", 0x40_00c7n, false],
  ])("is dropped, not split: %s", (_what, entry, referenced) => {
    const scene = new Scene();
    const { kernel } = scene;
    const mm = scene.mm();
    const file = scene.file("shmem", { swapBacked: true });
    const vma = scene.vma(mm, { at: h, length: 0x20_0000, file, shared: true });
    const head = scene.compoundPage(0x400);
    scene.mapHugeFile(vma, h, head, entry);
    const refcount = kernel.mem_map._refcount[head]!;
    scene.listen(mm, "K", {});
    const trace = new Trace({ names: { h } });
    kernel.attach(trace.observer);
    kernel.run(__split_huge_pmd(kernel, vma, pmdSlot(mm, h), h, false, head));
    expect(trace.words.map((word) => word.replace(/\(0x.*/, ""))).toEqual([
      "NS[h,+2M)",
      "L+(pmd)",
      "X",
      "F(full)",
      "NR[h,+2M)",
      "RM",
      "PP",
      "L-(pmd)",
      "NE[h,+2M)",
    ]);
    const { mem_map } = kernel;
    expect([scene.pmd(mm, h), (mem_map.flags[head]! & PG.referenced) !== 0, mem_map._refcount[head]]).toEqual(
      [0n, referenced, refcount - 1],
    );
    // 4.13 counts huge file mappings as MM_FILEPAGES, shared memory included, and drops the dirty bit (W3).
    expect([mm.rss_stat[MM_FILEPAGES], mm.rss_stat[MM_SHMEMPAGES], mem_map.PageDirty(head)]).toEqual([
      0,
      0,
      false,
    ]);
  });
});

describe("split_huge_pmd_address", () => {
  test("splits what maps the address, whatever the address's offset", () => {
    const { scene, kernel, mm, vma, head } = thp(0x40_08e7n);
    kernel.run(split_huge_pmd_address(kernel, vma, Linear.of(h + 0x8_0000), false, head));
    expect(scene.pte(mm, h)).toBe(0x8000_0000_0040_0827n);
  });

  test("a pmd that is split already: brackets and the lock, nothing else", () => {
    const { kernel, vma, head, split, trace } = thp(0x40_08e7n);
    split();
    trace.take();
    kernel.run(split_huge_pmd_address(kernel, vma, h, false, head));
    expect(trace.take()).toBe("NS[h,+2M) L+(pmd) L-(pmd) NE[h,+2M)");
  });

  test("no tables: nothing at all", () => {
    const { scene, kernel, trace } = thp(0x40_08e7n);
    const other = scene.vma(scene.mm(), { at: h, length: 0x20_0000 });
    trace.take();
    kernel.run(split_huge_pmd_address(kernel, other, h, false, Pfn.of(0x400)));
    expect(trace.take()).toBe("");
  });
});

describe("without a page: whatever the pmd maps", () => {
  test("split_huge_pmd splits a THP and takes mlock from it", () => {
    const { scene, kernel, mem_map, mm, vma, head } = thp(0x40_08e7n);
    mem_map.setFlag(head, PG.mlocked);
    kernel.run(split_huge_pmd(kernel, vma, pmdSlot(mm, h), h));
    expect(scene.pte(mm, h + 0x5000)).toBe(0x8000_0000_0040_5827n);
    expect(mem_map.PageMlocked(head)).toBe(false);
  });

  test("split_huge_pmd of a table tells nobody", () => {
    const { kernel, mm, vma, split, trace } = thp(0x40_08e7n);
    split();
    trace.take();
    kernel.run(split_huge_pmd(kernel, vma, pmdSlot(mm, h), h));
    expect(trace.take()).toBe("");
  });

  test("migration entries need a page that is known and locked", () => {
    const { kernel, mm, vma } = thp(0x40_08e7n);
    const freeze = __split_huge_pmd(kernel, vma, pmdSlot(mm, h), h, true, null);
    expect(() => kernel.run(freeze)).toThrow(/freeze: give the page/);
  });

  test("device memory is dropped and counts nothing: faults fill the small entries", () => {
    const { scene, kernel, mem_map, mm, vma, head, trace } = thp(0x40_08e7n);
    const slot = pmdSlot(mm, h);
    kernel.plantEntry(slot, Entry.fromBigInt(0x8400_0000_0060_00e7n));
    const before = [mem_map._refcount[head], mm.rss_stat[MM_ANONPAGES]];
    kernel.run(split_huge_pmd(kernel, vma, slot, h));
    expect(trace.toString()).toBe(
      "NS[h,+2M) L+(pmd) X(0x84000000006000e7) F(full) NR[h,+2M) L-(pmd) NE[h,+2M)",
    );
    expect(scene.pmd(mm, h)).toBe(0n);
    expect([mem_map._refcount[head], mm.rss_stat[MM_ANONPAGES]]).toEqual(before);
  });
});

describe("the huge zero page", () => {
  function zeros() {
    const scene = new Scene();
    const { kernel } = scene;
    const mm = scene.mm();
    const vma = scene.vma(mm, { at: h, length: 0x20_0000 });
    const slot = ensurePmdSlot(mm, h);
    const zero = get_huge_zero_page(kernel);
    const table = kernel.frames.allocate();
    const map = () => set_huge_zero_page(kernel, table, mm, vma, h, slot, zero);
    expect(map()).toBe(true);
    scene.listen(mm, "K", {});
    const trace = new Trace({ names: { h } });
    kernel.attach(trace.observer);
    return { scene, kernel, mm, vma, slot, zero, table, map, trace };
  }
  const hex = (value: number) => `0x${value.toString(16).padStart(16, "0")}`;

  test("is mapped read-only, once for all, and only where nothing is", () => {
    const { scene, kernel, mm, vma, zero, map, trace } = zeros();
    const pmd = scene.pmd(mm, h);
    expect(pmd).toBe(0x8000_0000_0000_00a5n + BigInt(zero) * 4096n);
    expect([get_huge_zero_page(kernel), is_huge_zero_pmd(kernel, Entry.fromBigInt(pmd))]).toEqual([
      zero,
      true,
    ]);
    expect([map(), trace.take()]).toEqual([false, ""]);
    expect(kernel.machine.cpu(0).load(h + 0x12_3450)).toMatchObject({ ok: true, value: 0n });
    expect(kernel.machine.cpu(0).store(h, 1)).toMatchObject({ ok: false });
    expect(vma.anon_vma).toBe(null);
  });

  test("splits into 512 times the small zero page; the pmd is empty and flushed in between", () => {
    const { scene, kernel, mm, vma, slot, zero, table, trace } = zeros();
    for (const cpu of kernel.machine.cpus) cpu.load(h);
    const counts = () => [
      kernel.mem_map._refcount[zero],
      kernel.mem_map.total_mapcount(zero),
      ...mm.rss_stat,
    ];
    const before = counts();
    kernel.run(split_huge_pmd(kernel, vma, slot, h));
    const old = hex(zero * 4096 + 0xa5).replace("0x0", "0x8");
    expect(trace.toString()).toBe(
      `NS[h,+2M) L+(pmd) X(${old}) F(full) NR[h,+2M) S(${hex(table * 4096 + 0x67)}) L-(pmd) NE[h,+2M)`,
    );
    const small = BigInt(my_zero_pfn(kernel, h)) * 4096n + 0x8000_0000_0000_0225n;
    const ptes = Array.from({ length: 512 }, (_, i) => scene.pte(mm, h + i * 4096));
    expect(new Set(ptes)).toEqual(new Set([small]));
    // 43: no mapping, no reference, no rss, before or after.
    expect(counts()).toEqual(before);
    expect(kernel.machine.cpu(1).load(h + 0x1f_f000)).toMatchObject({ ok: true, value: 0n });
  });

  test("while the table is filled, others see an empty pmd", () => {
    const { scene, kernel, mm, vma, slot } = zeros();
    const pmd = scene.pmd(mm, h);
    kernel.contended = true;
    const seen: string[] = [];
    const thread = split_huge_pmd(kernel, vma, slot, h);
    for (let next = thread.next(); !next.done; next = thread.next()) {
      const { kind } = next.value;
      if (kind === "ipi-wait") kernel.machine.cpu(1).handleIpis();
      if (kind === "flush" || kind === "entry") seen.push(`${kind}: ${scene.pmd(mm, h)}`);
    }
    expect(seen).toEqual([`entry: ${pmd}`, "flush: 0", "entry: 0"]);
  });
});

test("spare tables are kept per pmd table, last in first out", () => {
  const { mm } = thp(0x40_08e7n);
  const slot = pmdSlot(mm, h);
  pgtable_trans_huge_deposit(mm, slot, Pfn.of(0x111));
  pgtable_trans_huge_deposit(mm, Slot.of(slot + 8), Pfn.of(0x222));
  expect([pgtable_trans_huge_withdraw(mm, slot), pgtable_trans_huge_withdraw(mm, slot)]).toEqual([
    0x222, 0x111,
  ]);
});

describe("where others can come in between", () => {
  /** The steps of a split, each with the pmd at that moment. */
  function steps(freeze: boolean, file: boolean) {
    const scene = new Scene();
    const { kernel } = scene;
    const mm = scene.mm("mm", [0]);
    const vma = scene.vma(mm, {
      at: h,
      length: 0x20_0000,
      ...(file ? { file: scene.file(), shared: true } : {}),
    });
    const head = scene.compoundPage(0x400);
    if (file) scene.mapHugeFile(vma, h, head, 0x40_00e7n);
    else scene.mapHugeAnon(vma, h, head, 0x40_00e7n);
    kernel.contended = true;
    const seen: string[] = [];
    for (const { kind } of __split_huge_pmd(kernel, vma, pmdSlot(mm, h), h, freeze, head)) {
      const pmd = scene.pmd(mm, h);
      seen.push(`${kind} ${pmd === 0n ? "none" : pmd & 0x80n ? `huge P=${pmd & 1n}` : "table"}`);
    }
    return seen.filter((step) => !step.startsWith("flush"));
  }

  test("freeze: the migration entries are in place before the counts go", () => {
    expect(steps(true, false)).toEqual([
      "notify huge P=1",
      "lock huge P=1",
      "entry huge P=1",
      "entry huge P=0",
      "free table",
      "notify table",
    ]);
  });

  test("a file's pmd: in front of the exchange and of range_end", () => {
    expect(steps(false, true)).toEqual(["notify huge P=1", "lock huge P=1", "entry huge P=1", "notify none"]);
  });
});
