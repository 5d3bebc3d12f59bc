import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { ByteView } from "./byte-view.ts";
import { FormatError } from "./format-error.ts";
import type { GuestVma } from "./proc-maps.ts";

const WORD_BYTES = 8;
/** The kernel rounds its arrays of frames up to a whole section of memory, 128 MiB on x86-64. */
const SECTION_FRAMES = 2 ** 15;

/** The words of /proc/PID/pagemap for one mapping (Documentation/admin-guide/mm/pagemap.rst). */
export interface PagemapRun {
  /** Linear address of the first page. */
  readonly start: number;
  /** One word per page, as the kernel gave it. */
  readonly words: BigUint64Array;
}

/** Bits of a /proc/kpageflags word (include/uapi/linux/kernel-page-flags.h): position and meaning. */
export const KPF_FLAGS = [
  { bit: 0, name: "KPF_LOCKED", meaning: "locked, for example while it is read or written" },
  { bit: 1, name: "KPF_ERROR", meaning: "an I/O error happened" },
  { bit: 2, name: "KPF_REFERENCED", meaning: "referenced since it was put on or moved within an LRU list" },
  { bit: 3, name: "KPF_UPTODATE", meaning: "holds valid data" },
  { bit: 4, name: "KPF_DIRTY", meaning: "holds data that its file or swap area lacks" },
  { bit: 5, name: "KPF_LRU", meaning: "on an LRU list" },
  { bit: 6, name: "KPF_ACTIVE", meaning: "on an active LRU list" },
  { bit: 7, name: "KPF_SLAB", meaning: "belongs to the slab allocator" },
  { bit: 8, name: "KPF_WRITEBACK", meaning: "being written to its file or swap area" },
  { bit: 9, name: "KPF_RECLAIM", meaning: "to be reclaimed as soon as its writeback ends" },
  { bit: 10, name: "KPF_BUDDY", meaning: "free, in the buddy allocator" },
  { bit: 11, name: "KPF_MMAP", meaning: "mapped by some page table" },
  { bit: 12, name: "KPF_ANON", meaning: "anonymous memory, mapped" },
  { bit: 13, name: "KPF_SWAPCACHE", meaning: "in the swap cache: it has a swap entry" },
  { bit: 14, name: "KPF_SWAPBACKED", meaning: "swap is where it would be written" },
  { bit: 15, name: "KPF_COMPOUND_HEAD", meaning: "first page of a compound page" },
  { bit: 16, name: "KPF_COMPOUND_TAIL", meaning: "later page of a compound page" },
  { bit: 17, name: "KPF_HUGE", meaning: "hugetlb page" },
  { bit: 18, name: "KPF_UNEVICTABLE", meaning: "on the unevictable list, for example mlocked" },
  { bit: 19, name: "KPF_HWPOISON", meaning: "hardware reported that it is broken" },
  { bit: 20, name: "KPF_NOPAGE", meaning: "no struct page stands for this frame" },
  { bit: 21, name: "KPF_KSM", meaning: "merged by KSM (6.12: set on every anonymous page)" },
  { bit: 22, name: "KPF_THP", meaning: "part of a transparent huge page" },
  { bit: 23, name: "KPF_OFFLINE", meaning: "logically offline" },
  { bit: 24, name: "KPF_ZERO_PAGE", meaning: "the zero page or the huge zero page" },
  { bit: 25, name: "KPF_IDLE", meaning: "not used since it was marked idle" },
  { bit: 26, name: "KPF_PGTABLE", meaning: "a page table" },
] as const;

type KpfName = (typeof KPF_FLAGS)[number]["name"];

/** Masks by name, from {@link KPF_FLAGS}: `(word & KPF.KPF_ANON) !== 0`. */
export const KPF: Readonly<Record<KpfName, number>> = kpfMasks();

/**
 * The runs of a NAME.pagemap: for each mapping in maps order, u64 start, u64 pages, then a u64 per page. They
 * must be exactly the mappings. Throws FormatError.
 */
export function readPagemap(file: string, bytes: Uint8Array, vmas: readonly GuestVma[]): PagemapRun[] {
  const view = new ByteView(file, bytes);
  const runs: PagemapRun[] = [];
  let at = 0;
  for (const vma of vmas) {
    const pages = (vma.end - vma.start) / PAGE_SIZE;
    const start = view.pageAddress(at, "the start of a mapping");
    const count = view.u64(at + 8, "the page count of a mapping");
    if (start !== vma.start || count !== pages) {
      const wanted = `${pages} pages from 0x${vma.start.toString(16)} as maps says`;
      throw view.error(at, `${wanted}, found ${count} from 0x${start.toString(16)}`);
    }
    view.require(at + 16, pages * WORD_BYTES, `the words of ${pages} pages`);
    const words = new BigUint64Array(pages);
    for (let page = 0; page < pages; page++) words[page] = view.bigU64(at + 16 + page * WORD_BYTES, "a word");
    runs.push({ start, words });
    at += 16 + pages * WORD_BYTES;
  }
  if (at !== view.length) throw view.error(at, "the end: maps has no more mappings");
  return runs;
}

/**
 * /proc/kpagecount: how often each frame is mapped, for the first `frames` frames. The file may go on to the
 * end of the last memory section. Throws FormatError, also for a count that does not fit 32 bits.
 */
export function readKpagecount(file: string, bytes: Uint8Array, frames: number): Uint32Array {
  const view = frameWords(file, bytes, frames);
  const counts = new Uint32Array(frames);
  for (let pfn = 0; pfn < frames; pfn++) {
    const high = view.u32(pfn * WORD_BYTES + 4, "a count");
    if (high !== 0) throw view.error(pfn * WORD_BYTES, `a count of frame ${pfn} below 2^32`);
    counts[pfn] = view.u32(pfn * WORD_BYTES, "a count");
  }
  return counts;
}

/**
 * /proc/kpageflags for the first `frames` frames: the low words, where all bits of {@link KPF_FLAGS} are. What
 * the high words hold is for kernel hackers and changes between kernels. Throws FormatError.
 */
export function readKpageflags(file: string, bytes: Uint8Array, frames: number): Uint32Array {
  const view = frameWords(file, bytes, frames);
  return Uint32Array.from({ length: frames }, (_, pfn) => view.u32(pfn * WORD_BYTES, "flags"));
}

function frameWords(file: string, bytes: Uint8Array, frames: number): ByteView {
  const most = Math.ceil(frames / SECTION_FRAMES) * SECTION_FRAMES;
  const found = bytes.length / WORD_BYTES;
  if (!Number.isInteger(found) || found < frames || found > most) {
    const range = frames === most ? `${frames}` : `${frames} to ${most}`;
    throw new FormatError(file, bytes.length, `${range} words of 8 bytes, found ${bytes.length} bytes`);
  }
  return new ByteView(file, bytes);
}

function kpfMasks(): Record<KpfName, number> {
  return Object.fromEntries(KPF_FLAGS.map(({ name, bit }) => [name, 1 << bit])) as Record<KpfName, number>;
}
