import { describe, expect, test } from "vitest";
import { Entry, Machine } from "../../../src/package/cpu.ts";
import {
  add_to_swap,
  address_space,
  alloc_page,
  free_page,
  get_mm_rss,
  get_page,
  Kernel,
  lock_page,
  mapAnonymous,
  mmap,
  page_referenced,
  put_page,
  readEntry,
  shrink_page_list,
  switch_mm,
} from "../../../src/package/linux.ts";
import { System } from "./misuse-words.ts";

/* Calls that look right and are not: each is refused by name, and changes nothing. */

/** Arguments as no compiler would let them through. */
const any = <T>(value: unknown): T => value as T;

/** The call throws TypeError or RangeError, whose message has these words. */
function refused(call: () => unknown, ...words: string[]): void {
  let thrown: unknown = null;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown instanceof TypeError || thrown instanceof RangeError).toBe(true);
  for (const word of words) expect((thrown as Error).message).toContain(word);
}

const NO_FRAMES = [-1, Number.NaN, 1.5, 1e9, undefined];

describe("mapAnonymous", () => {
  test("refuses an address where a page is mapped, and leaves that page alone", () => {
    const { kernel, vma, at, mm, slot, page } = new System();
    const before = readEntry(mm, slot).toBigInt();
    refused(() => mapAnonymous(kernel, vma, at), String(at));
    expect(readEntry(mm, slot).toBigInt()).toBe(before);
    expect(get_mm_rss(mm)).toBe(1);
    expect(kernel.mem_map.page_mapcount(page)).toBe(1);
  });

  test("refuses an address outside the vma, unaligned, or none", () => {
    const { kernel, vma, at } = new System();
    for (const bad of [at - 4096, vma.vm_end, at + 4097, Number.NaN, 2 ** 64]) {
      refused(() => mapAnonymous(kernel, vma, any(bad)), String(bad));
    }
    refused(() => mapAnonymous(kernel, vma, any("4096")), '"4096"');
  });

  test("refuses another kernel's vma", () => {
    refused(() => mapAnonymous(new System().kernel, new System().vma, new System().at), "another kernel's");
  });
});

describe("mmap", () => {
  const OPTIONS = { at: 0x2000_0000, length: 0x1000, prot: "rw" };

  test("refuses what leaves the half of user mode, and takes what ends with it", () => {
    const { mm } = new System();
    for (const at of [2 ** 47, 2 ** 48, 2 ** 63, 2 ** 64, -4096]) {
      const text = at < 2 ** 57 && at > 0 ? `0x${at.toString(16)}` : String(at);
      refused(() => mmap(mm, { ...OPTIONS, at }), text);
    }
    refused(() => mmap(mm, { ...OPTIONS, at: 2 ** 47 - 0x1000, length: 0x2000 }), "0x7ffffffff000");
    expect(mmap(mm, { ...OPTIONS, at: 2 ** 47 - 0x1000 }).vm_end).toBe(2 ** 47);
  });

  test("refuses an offset inside a page, and a file that is none", () => {
    const { mm } = new System();
    const file = new address_space("f");
    refused(() => mmap(mm, { ...OPTIONS, file, offset: 5 }), "offset 5");
    refused(() => mmap(mm, { ...OPTIONS, file: any("f") }), 'file "f"');
    expect(mmap(mm, { ...OPTIONS, file, offset: 0x1000 }).vm_pgoff).toBe(1);
  });
});

describe("frames that memory has not are refused by", () => {
  const CALLS: Record<string, (kernel: Kernel, page: never) => unknown> = {
    free_page,
    put_page,
    get_page,
    lock_page,
    add_to_swap,
    page_referenced: (kernel, page) => page_referenced(kernel, page, true),
    shrink_page_list: (kernel, page) => shrink_page_list(kernel, [page]),
  };

  test.each(Object.entries(CALLS))("%s", (_, call) => {
    const { kernel } = new System();
    for (const page of NO_FRAMES) refused(() => call(kernel, any(page)), String(page));
  });
});

test("add_to_swap refuses a free frame, an unlocked page and one that it has taken, and loses no slot", () => {
  const system = new System();
  const { kernel, page } = system;
  const spent = alloc_page(kernel);
  put_page(kernel, spent);
  refused(() => add_to_swap(kernel, spent), `frame ${spent}`, "free");
  refused(() => add_to_swap(kernel, page), `frame ${page}`, "not locked");
  expect(add_to_swap(kernel, system.lockedPage)).toBe(true);
  refused(() => add_to_swap(kernel, page), `frame ${page}`, "in the swap cache");
  expect([...kernel.swap.cache.values()]).toEqual([page]);
});

describe("createMm", () => {
  test("refuses a root that is no page of memory", () => {
    const { kernel } = new System();
    for (const root of [5, Number.NaN, -4096, 2 ** 40])
      refused(() => kernel.createMm("x", root), String(root));
  });

  test("refuses a root with data in it, and adoptMm takes it", () => {
    const { kernel, machine } = new System();
    const root = alloc_page(kernel) * 4096;
    machine.memory.write(root, 0x1067, 0);
    refused(() => kernel.createMm("x", root), `0x${root.toString(16)}`);
    expect(kernel.adoptMm("x", root).pgd).toBe(root);
    machine.memory.clear(root, 4096);
    expect(kernel.createMm("y", root).pgd).toBe(root);
  });

  test("clears the frame that it takes itself", () => {
    const { kernel, machine } = new System();
    const page = alloc_page(kernel);
    machine.memory.write(page * 4096, 0x1067, 0);
    put_page(kernel, page);
    const { pgd } = kernel.createMm("x");
    expect(pgd).toBe(page * 4096);
    expect(machine.memory.tableAt(pgd)?.some((word) => word !== 0)).toBe(false);
  });
});

describe("switch_mm", () => {
  test("refuses another kernel's mm", () => {
    refused(() => switch_mm(new System().kernel, 1, new System().mm), "lab", "another kernel's");
  });

  test("refuses a CPU that the machine has not", () => {
    const { kernel, mm } = new System();
    for (const cpu of [-1, 2, Number.NaN]) refused(() => switch_mm(kernel, cpu, mm), `CPU ${cpu}`);
  });
});

describe("the kernel refuses", () => {
  test("numbers of swap slots that are none", () => {
    for (const swapSlots of [Number.NaN, 1.5, -1]) {
      const machine = new Machine({ memory: "1MiB" });
      refused(() => new Kernel(machine, { swapSlots }), `swapSlots ${swapSlots}`);
    }
    refused(() => new Kernel(new Machine({ memory: "1MiB" }), { swapSlots: any("9") }), '"9"');
  });

  test("a layout that is none", () => {
    const machine = new Machine({ memory: "1MiB" });
    refused(() => new Kernel(machine, { layout: any({}) }), "layout", "an object of type Object");
    refused(() => new Kernel(any({ layout: {} })), "machine", "an object of type Object");
  });

  test("a thread and a listener that are none", () => {
    const { kernel } = new System();
    refused(() => kernel.run(any(5)), "thread 5");
    refused(() => kernel.attach(any(undefined)), "listener undefined");
  });
});

describe("the processor refuses", () => {
  test("a machine without options", () => {
    refused(() => new Machine(any(undefined)), "options of a machine undefined");
  });

  test("a number for a bigint", () => {
    refused(() => Entry.fromBigInt(any(1)), "entry 1");
    refused(() => new System().machine.cpu(0).movCr3(any(4096)), "4096");
  });

  test("an address of memory below 0", () => {
    refused(() => new System().machine.memory.readLo(-4), "-4");
  });

  test("control bits that there are not", () => {
    const cpu = new System().machine.cpu(0);
    refused(() => cpu.setControl(any({ foo: true })), '"foo"');
    refused(() => cpu.setControl(any({ levels: 5 })), '"levels"');
    refused(() => cpu.setControl(any({ smep: 1 })), "smep 1");
    expect(cpu.control.smep).toBe(false);
  });
});
