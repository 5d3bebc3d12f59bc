import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { misuse, need } from "../../arch/x86/cpu/argument.ts";
import { flag, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { Entry } from "../../arch/x86/cpu/entry.ts";
import { swp_entry, type swp_entry_t } from "../../arch/x86/mm/swap-entry.ts";

/** Page flags by their bit (include/linux/page-flags.h, v4.13; the tail depends on the configuration). */
export const PG = {
  locked: 1 << 0,
  referenced: 1 << 2,
  uptodate: 1 << 3,
  dirty: 1 << 4,
  lru: 1 << 5,
  active: 1 << 6,
  slab: 1 << 8,
  /** owner_priv_1: for a swap-backed page, that it is in the swap cache. */
  swapcache: 1 << 9,
  writeback: 1 << 14,
  head: 1 << 15,
  swapbacked: 1 << 18,
  unevictable: 1 << 19,
  mlocked: 1 << 20,
  hwpoison: 1 << 22,
  young: 1 << 23,
  idle: 1 << 24,
  /** The kernel keeps this one in the flags of page[1]. */
  double_map: 1 << 25,
} as const;

/* The low bits of page->mapping say what it points to (include/linux/page-flags.h PAGE_MAPPING_*). */

/** It points to the address_space of a file, or to nothing. */
export const MAPPING_FILE = 0;
/** It points to an anon_vma. */
export const MAPPING_ANON = 1;
/** The page was merged by KSM, whose structures this machine does not have. */
export const MAPPING_KSM = 3;
/** What page->mapping points to. */
export type MappingKind = typeof MAPPING_FILE | typeof MAPPING_ANON | typeof MAPPING_KSM;

const HUGETLB_DTOR = 1;

const NR_PAGES = whole("number of pages", 1, 2 ** 31);
const ORDER = whole("order", 0, 30);
const HUGETLB = flag("hugetlb");

/**
 * struct page for every frame, as arrays indexed by frame number: a page *is* its pfn, so the
 * kernel's pointer arithmetic between pages is arithmetic here. A flag of a compound page is kept on its head,
 * except hwpoison.
 */
export class MemMap {
  readonly nr_pages: number;
  readonly flags: Uint32Array;
  readonly _refcount: Int32Array;
  /** Mappings by a pte, minus one. */
  readonly _mapcount: Int32Array;
  /** Mappings of a whole compound page, minus one; at the head. */
  readonly compound_mapcount: Int32Array;
  readonly compound_order: Uint8Array;
  /** Offset in the file or, for anonymous pages, in the address space that first mapped it; in pages. */
  readonly index: Float64Array;
  /** Owner of the lock of a page-table page: a task's id, 0 when free. */
  readonly ptl: Int32Array;
  readonly #head: Int32Array;
  readonly #dtor: Uint8Array;
  readonly #mapping: Int32Array;
  readonly #mappings: (object | null)[] = [null];
  readonly #handles = new Map<object, number>();
  readonly #privateLo: Int32Array;
  readonly #privateHi: Int32Array;

  constructor(nr_pages: number) {
    this.nr_pages = need(NR_PAGES, nr_pages);
    this.flags = new Uint32Array(nr_pages);
    this._refcount = new Int32Array(nr_pages);
    this._mapcount = new Int32Array(nr_pages).fill(-1);
    this.compound_mapcount = new Int32Array(nr_pages).fill(-1);
    this.compound_order = new Uint8Array(nr_pages);
    this.index = new Float64Array(nr_pages);
    this.ptl = new Int32Array(nr_pages);
    this.#head = new Int32Array(nr_pages);
    for (let pfn = 0; pfn < nr_pages; pfn++) this.#head[pfn] = pfn;
    this.#dtor = new Uint8Array(nr_pages);
    this.#mapping = new Int32Array(nr_pages);
    this.#privateLo = new Int32Array(nr_pages);
    this.#privateHi = new Int32Array(nr_pages);
  }

  /** Whether it is the number of one of these frames. */
  pfn_valid(pfn: Pfn): boolean {
    return this.flags[pfn] !== undefined;
  }

  /** The head of the compound page, or the page itself. Throws as {@link check}; so do all that take a page. */
  compound_head(page: Pfn): Pfn {
    const head = this.#head[page];
    return head === undefined ? this.#refuse(page) : (head as Pfn);
  }

  /** Returns the page. Throws TypeError or RangeError, naming it, unless it is one of these frames. */
  check(page: Pfn): Pfn {
    return this.#head[page] === undefined ? this.#refuse(page) : page;
  }

  #refuse(page: Pfn): never {
    throw misuse(whole("frame", 0, this.nr_pages - 1), page);
  }

  #flagsOf(page: Pfn): number {
    const flags = this.flags[page];
    return flags === undefined ? this.#refuse(page) : flags;
  }

  /** Makes 2^order frames from `head` one compound page. */
  prep_compound_page(head: Pfn, order: number, hugetlb: boolean): void {
    need(HUGETLB, hugetlb);
    const end = this.check(head) + 2 ** need(ORDER, order);
    if (head % 2 ** order !== 0 || end > this.nr_pages) {
      throw new RangeError(
        `compound page of order ${order} at frame ${head}: give an aligned head inside memory`,
      );
    }
    this.#head.fill(head, head, end);
    this.compound_order[head] = order;
    this.flags[head]! |= PG.head;
    this.#dtor[head] = hugetlb ? HUGETLB_DTOR : 0;
  }

  /**
   * Forgets what freed frames were: counts, flags, owner, compound head (mm/page_alloc.c). Returns whether all of them
   * were free of mappings and references.
   */
  free_pages_prepare(page: Pfn, nr: number): boolean {
    let good = true;
    this.check(page);
    for (let subpage: Pfn = page; subpage < page + nr; subpage++) {
      good &&=
        this._refcount[subpage] === 0 &&
        this._mapcount[subpage] === -1 &&
        this.compound_mapcount[subpage] === -1;
      this._refcount[subpage] = 0;
      this._mapcount[subpage] = -1;
      this.compound_mapcount[subpage] = -1;
      this.flags[subpage] = 0;
      this.compound_order[subpage] = 0;
      this.index[subpage] = 0;
      this.#head[subpage] = subpage;
      this.#dtor[subpage] = 0;
      this.#mapping[subpage] = 0;
      this.clearPrivate(subpage as Pfn);
    }
    return good;
  }

  PageCompound(page: Pfn): boolean {
    return (this.flags[this.compound_head(page)]! & PG.head) !== 0;
  }

  PageTransCompound(page: Pfn): boolean {
    return this.PageCompound(page);
  }

  PageHuge(page: Pfn): boolean {
    return this.#dtor[this.compound_head(page)] === HUGETLB_DTOR;
  }

  /** Head of a compound page that is not hugetlb's. */
  isThpHead(page: Pfn): boolean {
    return (this.#flagsOf(page) & PG.head) !== 0 && this.#dtor[page] !== HUGETLB_DTOR;
  }

  /** Base pages of a head, 1 for any other page (include/linux/huge_mm.h hpage_nr_pages). */
  hpage_nr_pages(page: Pfn): number {
    return (this.#flagsOf(page) & PG.head) !== 0 ? 1 << this.compound_order[page]! : 1;
  }

  #test(page: Pfn, flag: number): boolean {
    return (this.flags[this.compound_head(page)]! & flag) !== 0;
  }

  setFlag(page: Pfn, flag: number): void {
    this.flags[this.compound_head(page)]! |= flag;
  }

  clearFlag(page: Pfn, flag: number): void {
    this.flags[this.compound_head(page)]! &= ~flag;
  }

  PageLocked(page: Pfn): boolean {
    return this.#test(page, PG.locked);
  }
  SetPageLocked(page: Pfn): void {
    this.setFlag(page, PG.locked);
  }
  ClearPageLocked(page: Pfn): void {
    this.clearFlag(page, PG.locked);
  }
  PageDirty(page: Pfn): boolean {
    return this.#test(page, PG.dirty);
  }
  PageLRU(page: Pfn): boolean {
    return this.#test(page, PG.lru);
  }
  PageWriteback(page: Pfn): boolean {
    return this.#test(page, PG.writeback);
  }
  PageSwapBacked(page: Pfn): boolean {
    return this.#test(page, PG.swapbacked);
  }
  /** Only a swap-backed page can be in the swap cache: the bit has other owners. */
  PageSwapCache(page: Pfn): boolean {
    const both = PG.swapbacked | PG.swapcache;
    return (this.flags[this.compound_head(page)]! & both) === both;
  }
  PageMlocked(page: Pfn): boolean {
    return this.#test(page, PG.mlocked);
  }
  PageDoubleMap(page: Pfn): boolean {
    return this.#test(page, PG.double_map);
  }
  PageHWPoison(page: Pfn): boolean {
    return (this.#flagsOf(page) & PG.hwpoison) !== 0;
  }
  SetPageHWPoison(page: Pfn): void {
    this.flags[this.check(page)]! |= PG.hwpoison;
  }

  #handleOf(object: object): number {
    let handle = this.#handles.get(object);
    if (handle === undefined) {
      handle = this.#mappings.length;
      this.#mappings.push(object);
      this.#handles.set(object, handle);
    }
    return handle;
  }

  /** Sets page->mapping: to a file, an anon_vma, KSM's own (whose structures this machine does not have), or nothing. */
  setMapping(page: Pfn, kind: MappingKind, mapping: object | null): void {
    this.#mapping[this.check(page)] = mapping === null ? kind : (this.#handleOf(mapping) << 2) | kind;
  }

  /** What page->mapping points to, whatever it is; null if nothing. */
  mappingOf(page: Pfn): object | null {
    return this.#mappings[this.#mapping[this.compound_head(page)]! >> 2]!;
  }

  /** The low bits of page->mapping. */
  mappingKind(page: Pfn): MappingKind {
    return (this.#mapping[this.compound_head(page)]! & MAPPING_KSM) as MappingKind;
  }

  PageAnon(page: Pfn): boolean {
    return (this.#mapping[this.compound_head(page)]! & MAPPING_ANON) !== 0;
  }

  PageKsm(page: Pfn): boolean {
    return (this.#mapping[this.compound_head(page)]! & MAPPING_KSM) === MAPPING_KSM;
  }

  hasRmapping(page: Pfn): boolean {
    return this.#mapping[this.compound_head(page)] !== 0;
  }

  /** The swap entry, in generic form, of a page in the swap cache; consecutive for a THP's subpages. */
  page_private(page: Pfn): swp_entry_t {
    return new Entry(this.#privateLo[this.check(page)]!, this.#privateHi[page]!);
  }

  set_page_private(page: Pfn, entry: swp_entry_t): void {
    this.#privateLo[this.check(page)] = entry.lo;
    this.#privateHi[page] = entry.hi;
  }

  clearPrivate(page: Pfn): void {
    this.set_page_private(page, swp_entry(0, 0));
  }

  page_count(page: Pfn): number {
    return this._refcount[this.compound_head(page)]!;
  }

  page_mapped(page: Pfn): boolean {
    if (!this.PageCompound(page)) return this._mapcount[page]! >= 0;
    const head = this.compound_head(page);
    if (this.compound_mapcount[head]! >= 0) return true;
    if (this.PageHuge(head)) return false;
    const end = head + this.hpage_nr_pages(head);
    for (let subpage: number = head; subpage < end; subpage++) if (this._mapcount[subpage]! >= 0) return true;
    return false;
  }

  /** Mappings of this one page, through its compound page's included (include/linux/mm.h page_mapcount). */
  page_mapcount(page: Pfn): number {
    const head = this.compound_head(page);
    if (!this.PageCompound(head)) return this._mapcount[page]! + 1;
    if (this.PageHuge(head)) return this.compound_mapcount[head]! + 1;
    const own = this._mapcount[page]! + 1;
    if (!this.PageAnon(head)) return own;
    return own + this.compound_mapcount[head]! + 1 - (this.PageDoubleMap(head) ? 1 : 0);
  }

  /** Entries that map any part of the compound page (mm/huge_memory.c total_mapcount). */
  total_mapcount(page: Pfn): number {
    const head = this.compound_head(page);
    if (!this.PageCompound(head)) return this._mapcount[page]! + 1;
    const compound = this.compound_mapcount[head]! + 1;
    if (this.PageHuge(head)) return compound;
    const nr = this.hpage_nr_pages(head);
    let small = 0;
    for (let subpage: number = head; subpage < head + nr; subpage++) small += this._mapcount[subpage]! + 1;
    if (!this.PageAnon(head)) return compound + small - compound * nr;
    return compound + small - (this.PageDoubleMap(head) ? nr : 0);
  }

  /** Offset of a page in its file or anonymous space, in 4K pages (include/linux/pagemap.h page_to_pgoff). */
  page_to_pgoff(page: Pfn): number {
    const head = this.compound_head(page);
    if (this.PageHuge(head)) return this.index[head]! * 2 ** this.compound_order[head]!;
    return this.index[head]! + (page - head);
  }
}
