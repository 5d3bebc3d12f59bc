import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Linear, PAGES_OF_LEVEL, Pfn } from "../../../arch/x86/cpu/address.ts";
import { xorshift32 } from "../../../arch/x86/cpu/xorshift32.ts";
import { PROC_LIMITS } from "../../../src/formats/guest-snapshot.ts";
import { readBounded } from "../../../src/formats/gzip.ts";
import { KPF } from "../../../src/formats/proc-pagemap.ts";
import { ReadBudget } from "../../../src/formats/read-budget.ts";
import { readTar } from "../../../src/formats/tar.ts";
import { type ImportedGuest, importGuest, importScan } from "../../../src/guest/import-kernel.ts";
import { checkTruth } from "../../../src/guest/truth.ts";
import { get_mm_rss, MM_SWAPENTS } from "../../../src/mm/mm_struct.ts";
import { SWAP_HAS_CACHE } from "../../../src/mm/swap-space.ts";
import { fileMapping } from "../../../src/mm/util.ts";
import { realGuest, realScan, withEntry } from "../../support/guests.ts";

/** The sum of a field of each process's smaps, in pages. */
function smapsPages(directory: string, field: string): Map<string, number> {
  const file = join(directory, "proc.tar.gz");
  const members = readTar(file, readBounded(file, PROC_LIMITS, new ReadBudget()));
  const pages = new Map<string, number>();
  for (const [name, bytes] of members) {
    const process = /^pre\/(.*)\.smaps$/.exec(name)?.[1];
    const values = Buffer.from(bytes)
      .toString("latin1")
      .matchAll(new RegExp(`^${field}: +(\\d+) kB$`, "gm"));
    if (process === undefined) continue;
    pages.set(process, [...values].reduce((sum, [, kilobytes]) => sum + Number(kilobytes), 0) / 4);
  }
  return pages;
}

function leftOutFrames(imported: ImportedGuest): number {
  return [...imported.frames.leftOut.values()].reduce((sum, { frames }) => sum + frames, 0);
}

describe.each(["guest-a1", "guest-a2"] as const)("%s as a kernel", (name) => {
  const guest = realGuest(name);
  const imported = importScan(realScan(name), { cpus: 2, notifiers: "d" });
  const { kernel, machine, frames } = imported;
  const { mem_map } = kernel;
  const mm = (process: string) => imported.mms.get(process)!;

  test("kept and left out, by reason, are all mapped frames", () => {
    expect(frames.kept + leftOutFrames(imported)).toBe(frames.mapped);
    expect(frames).toEqual({
      mapped: 13_188,
      counted: 12_578,
      kept: 12_572,
      leftOut: new Map([
        ["KSM", { frames: 5, mappings: 180 }],
        ["vdso", { frames: 1, mappings: 5 }],
        ["vvar", { frames: 1, mappings: 3 }],
        ["zero page", { frames: 1, mappings: 602 }],
        ["huge zero page", { frames: 512, mappings: 2 }],
        ["PFNMAP", { frames: 96, mappings: 96 }],
      ]),
    });
    expect(imported.keptPages.length).toBe(6983);
    expect(new Set(imported.keptPages.map((page) => mem_map.compound_head(page))).size).toBe(6983);
  });

  test("not a byte of a table differs from the core", () => {
    for (const { physical, bytes } of guest.core.segments) {
      const loaded = machine.memory.bytesAt(physical, bytes.length);
      expect(Buffer.compare(loaded, bytes)).toBe(0);
    }
  });

  test("processes stand on the roots that map everything", () => {
    expect([...imported.mms.keys()]).toEqual(guest.processes.map(({ name: process }) => process));
    for (const { name: process, root } of guest.processes) expect(mm(process).pgd).toBe(root);
    expect(kernel.format.layout.name).toBe("linux-6.1");
    expect(kernel.protocol.name).toBe("d");
    expect(machine.cpus.map(({ root }) => root)).toEqual(machine.cpus.map(() => kernel.init_mm.pgd));
  });

  test("only frames of the buddy allocator are free, and new tables came from them", () => {
    const deposited = [...imported.mms.values()].flatMap((each) => [...each.deposited.values()].flat());
    const taken = [...deposited, kernel.init_mm.pgd / 4096];
    expect(taken.every((pfn) => (guest.kpageflags[pfn]! & KPF.KPF_BUDDY) !== 0)).toBe(true);
    for (let pfn = 0; pfn < mem_map.nr_pages; pfn++) {
      const free = (guest.kpageflags[pfn]! & KPF.KPF_BUDDY) !== 0 && !taken.includes(pfn);
      if (kernel.frames.isFree(Pfn.of(pfn)) !== free) expect({ pfn, free }).toEqual({ pfn, free: !free });
    }
  });

  test("each huge pmd that can be split has a spare table", () => {
    const counts = [...imported.mms.values()].map((each) => [
      each.name,
      [...each.deposited.values()].flat().length,
    ]);
    expect(counts.filter(([, count]) => count !== 0)).toEqual([
      ["thp", 3],
      ["thp-child", 1],
      ["none", 2],
    ]);
  });

  test("a THP that is mapped both ways is DoubleMap, and counts as the kernel counts it", () => {
    const both = imported.keptPages.filter((page) => mem_map.PageDoubleMap(page));
    expect(both.length).toBe(2);
    for (const page of both) {
      const levels = imported.mappingsOf(page).map(({ level }) => level);
      expect(new Set(levels)).toEqual(new Set([1, 2]));
      expect(mem_map.total_mapcount(page)).toBe(levels.length);
    }
  });

  test("struct page agrees with the entries: counts, references, index, kind", () => {
    const wrong = imported.keptPages.filter((page) => {
      const mappings = imported.mappingsOf(page);
      const cached = mem_map.PageSwapCache(page) || !mem_map.PageAnon(page) ? 1 : 0;
      const { vma, address, pfn } = mappings[0]!;
      const pgoff = vma.vm_pgoff + (address - vma.vm_start) / 4096 - (pfn - page);
      return !(
        mem_map.total_mapcount(page) === mappings.length &&
        mem_map.page_count(page) === mappings.length + cached &&
        mem_map.page_mapped(page) &&
        mem_map.page_to_pgoff(page) === pgoff &&
        mem_map.PageAnon(page) === ((guest.kpageflags[page]! & KPF.KPF_ANON) !== 0)
      );
    });
    expect(wrong).toEqual([]);
  });

  test("file pages are in the page cache of their device and inode", () => {
    const [file] = mm("file-a").mmap.filter(({ name: path }) => path === "/file.bin");
    const others = mm("file-b").mmap.filter(({ name: path }) => path === "/file.bin");
    expect(others.length).toBeGreaterThan(0);
    expect(others.every(({ vm_file }) => vm_file === file!.vm_file)).toBe(true);
    expect(file!.vm_file!.swapBacked).toBe(true);
    for (const [index, page] of file!.vm_file!.page_tree) {
      expect(fileMapping(kernel, page) === file!.vm_file).toBe(true);
      expect(mem_map.page_to_pgoff(page)).toBe(index);
    }
    const zero = mm("cow-parent").mmap.filter(({ name: path }) => path === "/dev/zero (deleted)");
    expect(zero.length).toBe(2);
    expect(zero[0]!.vm_file === zero[1]!.vm_file).toBe(false);
  });

  test("the offset of the one vma that mremap moved follows from the pages it shares", () => {
    const anonymous = [...imported.mms.values()].flatMap((each) =>
      each.mmap.filter(({ vm_file, anon_vma }) => vm_file === null && anon_vma !== null),
    );
    const moved = anonymous.filter(({ vm_start, vm_pgoff }) => vm_pgoff !== vm_start / 4096);
    expect(moved.map(({ vm_mm, vm_start, vm_pgoff }) => [vm_mm.name, vm_start, vm_pgoff])).toEqual([
      ["cow-gc", 0x100_8000_0000, 0x1000_0400],
    ]);
    const origin = mm("cow-parent").vmaAt(Linear.of(0x100_0040_0000))!;
    expect(origin.vm_pgoff).toBe(origin.vm_start / 4096);
    expect(moved[0]!.anon_vma === origin.anon_vma).toBe(true);
  });

  test("swap_map counts the entries of every slot, and the swap cache has a slot for each page", () => {
    const references = kernel.swap.swap_map.reduce((sum, count) => sum + (count & ~SWAP_HAS_CACHE), 0);
    const slots = kernel.swap.swap_map.filter((count) => (count & ~SWAP_HAS_CACHE) > 0).length;
    expect([references, slots]).toEqual([1257, 684]);
    // The data's own count of 688 distinct entries has the three poison entries and the marker in it.
    expect(imported.software).toEqual(
      new Map([
        ["swap", 1257],
        ["pte marker", 20],
        ["hwpoison", 3],
      ]),
    );
    expect(imported.swapCache).toEqual({ found: 20, made: 2 });
    const cached = imported.keptPages.filter((page) => mem_map.PageSwapCache(page));
    expect([...kernel.swap.cache.values()].sort((a, b) => a - b)).toEqual(cached);
  });

  test("rss and swap of each process are smaps' but for the two that smaps itself gets wrong", () => {
    const rss = smapsPages(guest.directory, "Rss");
    const swap = smapsPages(guest.directory, "Swap");
    const differences = [...imported.mms.values()].map((each) => ({
      process: each.name,
      rss: get_mm_rss(each) - rss.get(each.name)!,
      swap: each.rss_stat[MM_SWAPENTS]! - swap.get(each.name)!,
    }));
    expect(differences.filter((each) => each.rss !== 0 || each.swap !== 0)).toEqual([
      // A PROT_NONE huge pmd is left out of Rss.
      { process: "none", rss: 512, swap: 0 },
      // Poison entries are counted in Rss.
      { process: "hwp", rss: -3, swap: 0 },
    ]);
    expect(mm("huge").hugetlb_usage).toBe(2048);
    expect(mm("huge-child").hugetlb_usage).toBe(1024);
  });

  test("mlocked pages are those that are unevictable in a locked vma; secret memory is not", () => {
    const unevictable = imported.keptPages.filter(
      (page) => (guest.kpageflags[page]! & KPF.KPF_UNEVICTABLE) !== 0,
    );
    const notLocked = unevictable.filter((page) => !mem_map.PageMlocked(page));
    const names = notLocked.map((page) => imported.mappingsOf(page)[0]!.vma.name);
    expect(unevictable.length).toBe(110);
    expect(new Set(names)).toEqual(new Set(["/secretmem (deleted)"]));
  });

  test("the machine has the guest's control bits, and no lock is held", () => {
    expect(machine.cpu(0).control).toMatchObject({ wp: true, nxe: true, pcide: false, levels: 4 });
    expect(machine.cpu(0).control.smap).toBe(name === "guest-a1");
    expect(imported.keptPages.filter((page) => mem_map.PageLocked(page))).toEqual([]);
  });
});

describe("what does not fit together is left out, not fatal", () => {
  const guest = realGuest("guest-a1");
  const sound = importScan(realScan("guest-a1"));
  const single = sound.keptPages.filter((page) => {
    const [mapping, ...more] = sound.mappingsOf(page);
    return sound.kernel.mem_map.PageAnon(page) && more.length === 0 && mapping!.mm.name === "cow-parent";
  });
  const vmaOf = (page: Pfn) => sound.mappingsOf(page)[0]!.vma;
  const one = single.find((page) => single.some((each) => each !== page && vmaOf(each) === vmaOf(page)))!;
  const other = single.find((page) => page !== one && vmaOf(page) === vmaOf(one))!;
  const { slot } = sound.mappingsOf(one)[0]!;

  test("an anonymous page at two places of one vma", () => {
    const damaged = importGuest(withEntry(guest, slot, (entry) => entry ^ (BigInt(one ^ other) << 12n)));
    expect(damaged.leftOutBecause(other)).toBe("contradiction");
    expect(damaged.mappingsOf(other)).toEqual([]);
    expect(damaged.frames.leftOut.get("contradiction")).toEqual({ frames: 1, mappings: 2 });
    expect(damaged.frames.kept + leftOutFrames(damaged)).toBe(damaged.frames.mapped);
  });

  test("a file page at two offsets: one mapping of a library shifted by a page", () => {
    const processes = guest.processes.map((process) => {
      if (process.name !== "bash-1") return process;
      const vmas = process.vmas.map((vma) =>
        vma.name.endsWith("libc.so.6") ? { ...vma, offset: vma.offset + 4096 } : vma,
      );
      return { ...process, vmas };
    });
    const damaged = importGuest({ ...guest, processes });
    expect(damaged.frames.leftOut.get("contradiction")!.frames).toBeGreaterThan(100);
    expect(damaged.frames.kept + leftOutFrames(damaged)).toBe(damaged.frames.mapped);
  });

  test("a pte in a compound page of hugetlb", () => {
    const huge = sound.keptPages.find((page) => sound.kernel.mem_map.PageHuge(page))!;
    const damaged = importGuest(withEntry(guest, slot, (entry) => entry ^ (BigInt(one ^ huge) << 12n)));
    expect(damaged.leftOutBecause(huge)).toBe("contradiction");
    expect(damaged.frames.leftOut.get("contradiction")!.frames).toBe(PAGES_OF_LEVEL[2]!);
  });

  test("a frame beyond memory", () => {
    const damaged = importGuest(withEntry(guest, slot, (entry) => entry ^ (1n << 40n)));
    expect(damaged.frames.leftOut.get("beyond memory")).toEqual({ frames: 1, mappings: 1 });
    expect(damaged.frames.kept).toBe(12_571);
  });

  test.each([1, 2, 3])("200 entries with random bits flipped (seed %i)", (seed) => {
    const next = xorshift32(seed);
    const random = (below: number): number => next() % below;
    let damagedGuest = guest;
    for (let i = 0; i < 200; i++) {
      const mappings = sound.mappingsOf(sound.keptPages[random(sound.keptPages.length)]!);
      const at = mappings[random(mappings.length)]!;
      // A pmd without PSE would point at a table, which the dump does not have: that is a malformed file.
      const bit = at.level > 1 ? 8 + random(56) : random(64);
      damagedGuest = withEntry(damagedGuest, at.slot, (entry) => entry ^ (1n << BigInt(bit)));
    }
    const damaged = importGuest(damagedGuest);
    const truth = checkTruth(damaged);
    expect(damaged.frames.kept + leftOutFrames(damaged)).toBe(damaged.frames.mapped);
    expect(truth.pagemap.equal).toBeLessThan(truth.pagemap.words);
    expect(truth.pagemap.equal).toBeGreaterThan(75_000);
  });

  test("a guest without a free frame cannot run", () => {
    const kpageflags = guest.kpageflags.map((flags) => flags & ~KPF.KPF_BUDDY);
    expect(() => importGuest({ ...guest, kpageflags })).toThrow(/no free frame \(KPF_BUDDY\)/);
  });
});
