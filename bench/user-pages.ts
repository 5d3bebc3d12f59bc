import { Machine } from "../arch/x86/cpu/machine.ts";
import type { TlbPolicy } from "../arch/x86/cpu/tlb.ts";
import type { TlbGeometry } from "../arch/x86/cpu/tlb-geometry.ts";
import { xorshift32 } from "../arch/x86/cpu/xorshift32.ts";

/*
 * The address space that both programs build, word for word (reference/mmu.c): 4-KiB pages from BASE on, mapped to
 * 64 frames over and over, so that what is measured is the emulator and not the host's memory; A is set, as it is after
 * the first visit, and D clear, so that the first store sets it.
 *
 *   0x100000  PML4, PDPT, PD, then the page tables
 *   0x400000  the pages
 */
export const MEMORY = 512 * 2 ** 20;
export const ROOT = 0x10_0000;
const PDPT = ROOT + 0x1000;
const PD = ROOT + 0x2000;
const FIRST_PT = ROOT + 0x3000;
const FIRST_PAGE = 0x40_0000;
/** 0x7f0000000000 */
const BASE_HI = 0x7f00;
const PML4_INDEX = 254;
const SEED = 12_345;
/** What the pages are folded onto. */
const FRAMES = 64;
/** P, R/W, U/S, A. */
const USER = 0x27;
/** Data pages are no code. */
const XD = 0x8000_0000 | 0;
/** Words of a linear address. */
export const ORDER_STRIDE = 2;

/** A CPU at CPL 3 with the pages mapped, and the addresses to visit in order. */
export interface UserPages {
  readonly machine: Machine;
  /** Low and high word of one address in each page, in xorshift32 order. */
  readonly order: Int32Array;
}

/**
 * Maps `count` pages, at most 65,536, and shuffles them. The word of a frame that a page visits holds the page's number,
 * or that of the last page that visits the same word.
 */
export function userPages(
  count: number,
  tlb: TlbPolicy | TlbGeometry,
  source: number | ArrayBuffer = MEMORY,
): UserPages {
  const machine = new Machine({ memory: source, tlb });
  const { memory } = machine;
  memory.write(ROOT + 8 * PML4_INDEX, PDPT | USER, 0);
  memory.write(PDPT, PD | USER, 0);
  for (let table = 0; table * 512 < count; table++) {
    memory.write(PD + 8 * table, (FIRST_PT + 4096 * table) | USER, 0);
  }
  const pages = Uint32Array.from({ length: count }, (_, page) => page);
  for (const page of pages) {
    const frame = FIRST_PAGE + 4096 * (page % FRAMES);
    memory.write(FIRST_PT + 8 * page, frame | USER, XD);
    memory.write(frame + offsetIn(page), page, 0);
  }
  shuffle(pages);
  const order = new Int32Array(ORDER_STRIDE * count);
  for (const [i, page] of pages.entries()) {
    order[ORDER_STRIDE * i] = 4096 * page + offsetIn(page);
    order[ORDER_STRIDE * i + 1] = BASE_HI;
  }
  const cpu = machine.cpu(0);
  cpu.loadCr3(ROOT);
  cpu.cpl = 3;
  return { machine, order };
}

/** Not the same in all pages: those would share one set of the host's first-level cache. */
function offsetIn(page: number): number {
  return (page * 72) & 0xff8;
}

/** Fisher and Yates. */
function shuffle(pages: Uint32Array): void {
  const random = xorshift32(SEED);
  for (let i = pages.length - 1; i > 0; i--) {
    const j = random() % (i + 1);
    const held = pages[i]!;
    pages[i] = pages[j]!;
    pages[j] = held;
  }
}
