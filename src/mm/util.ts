import type { Pfn } from "../../arch/x86/cpu/address.ts";
import { MAPPING_ANON, MAPPING_FILE, MAPPING_KSM } from "./mem_map.ts";
import type { address_space, anon_vma, Kernel } from "./mm_types.ts";
import type { MmRecord } from "./records.ts";

/* What a page is a copy of (mm/util.c), and where that is set. */

/** The anon_vma of an anonymous page, null for any other and for KSM pages (mm/util.c page_anon_vma). */
export function page_anon_vma(k: Kernel, page: Pfn): anon_vma | null {
  return k.mem_map.mappingKind(page) === MAPPING_ANON ? (k.mem_map.mappingOf(page) as anon_vma | null) : null;
}

/** The file that the page caches, null for anonymous pages. */
export function fileMapping(k: Kernel, page: Pfn): address_space | null {
  return k.mem_map.mappingKind(page) === MAPPING_FILE
    ? (k.mem_map.mappingOf(page) as address_space | null)
    : null;
}

/** Makes a page one of a file's page cache, or of nothing. */
export function setFileMapping(k: Kernel, page: Pfn, mapping: address_space | null): void {
  k.mem_map.setMapping(page, MAPPING_FILE, mapping);
  reportBacking(k, page);
}

/** Makes a page an anonymous one, to be looked for through that anon_vma. */
export function setAnonMapping(k: Kernel, page: Pfn, anon: anon_vma): void {
  k.mem_map.setMapping(page, MAPPING_ANON, anon);
  reportBacking(k, page);
}

/** Marks a page as merged by KSM, whose own structures this machine does not have. */
export function setKsmMapping(k: Kernel, page: Pfn): void {
  k.mem_map.setMapping(page, MAPPING_KSM, null);
  reportBacking(k, page);
}

function reportBacking(k: Kernel, page: Pfn): void {
  if (k.records.live) k.records.emit(backingRecord(k, page));
}

/** The record that says what a page is a copy of. */
export function backingRecord(k: Kernel, page: Pfn): MmRecord {
  const backing = k.mem_map.PageAnon(page) ? "anon" : fileMapping(k, page) !== null ? "file" : "none";
  return { kind: "page-backing", ...k.header(), pfn: page, backing };
}
