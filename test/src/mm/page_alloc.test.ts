import { describe, expect, test } from "vitest";
import { NONE, Pfn } from "../../../arch/x86/cpu/address.ts";
import { PG } from "../../../src/mm/mem_map.ts";
import { free_page, page_ref_freeze, put_page } from "../../../src/mm/page_alloc.ts";
import { add_to_swap } from "../../../src/mm/swapfile.ts";
import { fileMapping, setFileMapping } from "../../../src/mm/util.ts";
import { Scene } from "../../support/scene.ts";
import { Trace } from "../../support/trace.ts";

describe("FrameAllocator", () => {
  test("hands out frames from the top of memory and never one twice", () => {
    const { frames, mem_map } = new Scene().kernel;
    const first = frames.allocate();
    const second = frames.allocate();
    expect([second < first, mem_map._refcount[first], frames.isFree(first)]).toEqual([true, 1, false]);
    frames.release(first);
    expect([frames.allocate(), frames.allocate()]).toEqual([first, second - 1]);
  });

  test("reserved frames are passed over; contiguous ones are aligned", () => {
    const { frames } = new Scene().kernel;
    const next = Pfn.of(frames.allocate() - 1);
    frames.reserve(next);
    expect(frames.allocate()).toBe(next - 1);
    const head = frames.allocateOrder(9);
    expect([head % 512, frames.isFree(Pfn.of(head + 511))]).toEqual([0, false]);
  });

  test("an empty memory says so", () => {
    const { frames } = new Scene({ memory: "64KiB" }).kernel;
    expect(() => {
      for (let i = 0; i < 17; i++) frames.allocate();
    }).toThrow(/all 16 frames/);
    expect(() => frames.allocateOrder(3)).toThrow(/no 8 contiguous frames/);
  });
});

describe("put_page", () => {
  test("the last reference frees the page, and the frame forgets what it was", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const { mem_map } = kernel;
    const page = scene.page(0x300);
    mem_map.setFlag(page, PG.dirty | PG.swapbacked | PG.uptodate);
    setFileMapping(kernel, page, scene.file());
    add_to_swap(kernel, page);
    mem_map._refcount[page] = 2;
    const trace = new Trace();
    kernel.attach(trace.observer);
    put_page(kernel, page);
    put_page(kernel, page);
    expect(trace.toString()).toBe("PP PP FREE(300)");
    expect([kernel.frames.isFree(page), mem_map.flags[page], fileMapping(kernel, page)]).toEqual([
      true,
      0,
      null,
    ]);
    expect(mem_map.page_private(page).toBigInt()).toBe(0n);
    expect(() => put_page(kernel, page)).toThrow(/frame 768, which has no reference/);
  });

  test("a compound page goes as a whole and its frames are single again", () => {
    const scene = new Scene();
    const { kernel } = scene;
    const head = scene.compoundPage(0x400);
    const tail = Pfn.of(head + 5);
    const freed: unknown[] = [];
    kernel.attach((record) => {
      if (record.kind === "page-freed") freed.push([record.pfn, record.order]);
    });
    put_page(kernel, tail);
    expect(freed).toEqual([[0x400, 9]]);
    const free = Array.from({ length: 514 }, (_, i) => kernel.frames.isFree(Pfn.of(0x3ff + i)));
    expect(free).toEqual(Array(514).fill(true));
    expect([kernel.mem_map.PageCompound(tail), kernel.mem_map.compound_head(tail)]).toEqual([false, tail]);
  });
});

test("page_ref_freeze takes exactly the count that it was told", () => {
  const scene = new Scene();
  const page = scene.page(0x300);
  expect([page_ref_freeze(scene.kernel, page, 2), scene.kernel.mem_map._refcount[page]]).toEqual([false, 1]);
  expect([page_ref_freeze(scene.kernel, page, 1), scene.kernel.mem_map._refcount[page]]).toEqual([true, 0]);
});

test("a page freed while it is still mapped is reported, and its frame starts again from nothing", () => {
  const scene = new Scene();
  const { kernel } = scene;
  const { mem_map } = kernel;
  const vma = scene.vma(scene.mm(), { at: 0x7f00_0020_0000, length: 0x1000 });
  scene.mapAnon(vma, vma.vm_start, scene.page(0x300), 0x30_0027n);
  const bad: unknown[] = [];
  kernel.attach((record) => {
    if (record.kind === "bad-page") bad.push(record);
  });
  free_page(kernel, Pfn.of(0x300));
  const header = { kind: "bad-page", seq: expect.any(Number), agent: kernel.current.id, cpu: 0, space: NONE };
  expect(bad).toEqual([{ ...header, pfn: 0x300, mappings: 1, references: 2 }]);
  expect([mem_map._mapcount[0x300], mem_map._refcount[0x300], kernel.frames.isFree(Pfn.of(0x300))]).toEqual([
    -1,
    0,
    true,
  ]);
  put_page(kernel, scene.page(0x301));
  expect(bad).toHaveLength(1);
});
