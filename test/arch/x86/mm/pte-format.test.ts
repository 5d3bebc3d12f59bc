import { describe, expect, test } from "vitest";
import { type Linear, Pfn } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import {
  is_swap_pte,
  pmd_mkclean,
  pmd_wrprotect,
  pte_dirty,
  pte_global,
  pte_mkclean,
  pte_mkdevmap,
  pte_mkdirty,
  pte_mkhuge,
  pte_mkspecial,
  pte_mkwrite,
  pte_none,
  pte_present,
  pte_protnone,
  pte_soft_dirty,
  pte_special,
  pte_write,
  pte_wrprotect,
  tableIndex,
} from "../../../../arch/x86/mm/pgtable.ts";
import { _PAGE_TABLE, PAGE_COPY, PAGE_NONE, PAGE_SHARED } from "../../../../arch/x86/mm/pgtable_types.ts";
import { PteFormat, pteLayout } from "../../../../arch/x86/mm/pte-format.ts";
import { swp_entry, swp_offset, swp_type } from "../../../../arch/x86/mm/swap-entry.ts";

const format = new PteFormat(pteLayout("linux-4.13"));
const early = new PteFormat(pteLayout("linux-4.14"));
const l1tf = new PteFormat(pteLayout("l1tf"));
const late = new PteFormat(pteLayout("linux-6.1"));
const latest = new PteFormat(pteLayout("linux-6.12"));

const pte = (value: bigint) => Entry.fromBigInt(value);
const slots = (address: number) => [4, 3, 2, 1].map((level) => tableIndex(address as Linear, level));
const swap = (type: number, offset: number) => format.swp_entry_to_pte(swp_entry(type, offset));

const fresh = format.mk_pte(Pfn.of(0x12345), PAGE_COPY);
const dirtied = pte_mkdirty(fresh);
const written = pte_mkwrite(dirtied);
const none = format.pte_modify(written, PAGE_NONE);
const huge = format.mk_huge_pmd(Pfn.of(0x40000), PAGE_COPY);
const hugeWritten = pte_mkwrite(pte_mkdirty(huge));
const readEntry = format.swp_entry_to_pte(format.make_migration_entry(Pfn.of(0x12345), false));
const writeEntry = format.swp_entry_to_pte(format.make_migration_entry(Pfn.of(0x12345), true));
const l1tfSwap = (type: number, offset: number) => l1tf.swp_entry_to_pte(swp_entry(type, offset));

/** Entry values, worked out by hand. */
const VALUES: readonly (readonly [id: string, what: string, built: Entry, value: bigint])[] = [
  ["1", "mk_pte(pfn 0x12345, PAGE_COPY)", fresh, 0x8000_0000_1234_5025n],
  ["2", "#1 then pte_mkdirty", dirtied, 0x8000_0000_1234_5865n],
  ["3", "#2 then pte_mkwrite", written, 0x8000_0000_1234_5867n],
  ["4", "#3 then wrprotect and mkclean", pte_mkclean(pte_wrprotect(written)), 0x8000_0000_1234_5825n],
  ["5", "#3 then pte_modify(PAGE_NONE)", none, 0x0000_0000_1234_5960n],
  ["7", "#5 then pte_modify(PAGE_COPY)", format.pte_modify(none, PAGE_COPY), 0x8000_0000_1234_5865n],
  ["8", "#5 then pte_modify(PAGE_SHARED)", format.pte_modify(none, PAGE_SHARED), 0x8000_0000_1234_5867n],
  [
    "9",
    "zero page, special",
    pte_mkspecial(format.mk_pte(Pfn.of(0x1a2b), PAGE_COPY)),
    0x8000_0000_01a2_b225n,
  ],
  ["10", "device memory", pte_mkdevmap(format.mk_pte(Pfn.of(0x12345), PAGE_SHARED)), 0x8400_0000_1234_5227n],
  [
    "11",
    "protection key 5",
    format.mk_pte(Pfn.of(0x12345), new Entry(PAGE_COPY.lo, PAGE_COPY.hi | (5 << 27))),
    0xa800_0000_1234_5025n,
  ],
  ["12", "swap type 0 offset 1", swap(0, 1), 0x4000n],
  ["13", "#12 soft-dirty", format.pte_swp_mksoft_dirty(swap(0, 1)), 0x4080n],
  ["14", "swap type 1 offset 0x1234", swap(1, 0x1234), 0x48d_0200n],
  ["15", "#14 soft-dirty in 4.13", format.pte_swp_mksoft_dirty(swap(1, 0x1234)), 0x48d_0280n],
  [
    "15",
    "#14 soft-dirty in 4.14",
    early.pte_swp_mksoft_dirty(early.swp_entry_to_pte(swp_entry(1, 0x1234))),
    0x48d_0202n,
  ],
  ["16", "swap type 28 offset 0xABCDE", swap(28, 0xabcde), 0x2_af37_b800n],
  ["17", "the largest: type 28, offset 2^50-1", swap(28, 2 ** 50 - 1), 0xffff_ffff_ffff_f800n],
  [
    "18",
    "poison of 0x12345",
    format.swp_entry_to_pte(format.make_hwpoison_entry(Pfn.of(0x12345))),
    0x48d1_7a00n,
  ],
  ["19", "migration read of 0x12345", readEntry, 0x48d1_7c00n],
  ["20", "migration write of 0x12345", writeEntry, 0x48d1_7e00n],
  ["21", "#20 soft-dirty", format.pte_swp_mksoft_dirty(writeEntry), 0x48d1_7e80n],
  ...([0x1_0000_3e80n, 0x1_0000_7e80n, 0x1_0000_be80n] as const).map(
    (value, i) =>
      [
        "22",
        `migration write of THP subpage 0x${(0x40000 + i).toString(16)}, soft-dirty`,
        format.pte_swp_mksoft_dirty(
          format.swp_entry_to_pte(format.make_migration_entry((0x40000 + i) as Pfn, true)),
        ),
        value,
      ] as const,
  ),
  ["23", "mk_huge_pmd(pfn 0x40000, PAGE_COPY)", huge, 0x8000_0000_4000_00a5n],
  ["24", "#23 dirty and writable", hugeWritten, 0x8000_0000_4000_08e7n],
  ["25", "#24 pmd_mknotpresent", format.pmd_mknotpresent(hugeWritten), 0x8000_0000_4000_08e6n],
  ["26", "#24 wrprotect and mkclean", pmd_mkclean(pmd_wrprotect(hugeWritten)), 0x8000_0000_4000_08a5n],
  ["27", "pmd_populate with table 0x777", new Entry((0x777 << 12) | _PAGE_TABLE, 0), 0x77_7067n],
  [
    "28",
    "hugetlb, shared, writable, dirty",
    pte_mkhuge(pte_mkdirty(format.mk_pte(Pfn.of(0x40000), PAGE_SHARED))),
    0x8000_0000_4000_08e7n,
  ],
  ["29", "pte_modify(#28, PAGE_NONE): PSE is lost", format.pte_modify(hugeWritten, PAGE_NONE), 0x4000_0960n],
  ["30", "#29 then pte_mkhuge", pte_mkhuge(format.pte_modify(hugeWritten, PAGE_NONE)), 0x4000_09e0n],
  ["33", "L1TF: type 0 offset 1", l1tfSwap(0, 1), 0x07ff_ffff_ffff_fc00n],
  ["34", "L1TF: type 1 offset 0x1234", l1tfSwap(1, 0x1234), 0x0fff_ffff_ffdb_9600n],
  ["34", "L1TF: the same soft-dirty", l1tf.pte_swp_mksoft_dirty(l1tfSwap(1, 0x1234)), 0x0fff_ffff_ffdb_9602n],
  ["35", "L1TF: type 30 offset 0x12345", l1tfSwap(30, 0x12345), 0xf7ff_ffff_fdb9_7400n],
  [
    "36",
    "L1TF: PROT_NONE pfn 0x12345, 52 bits",
    l1tf.mk_pte(Pfn.of(0x12345), PAGE_NONE),
    0x000f_ffff_edcb_a120n,
  ],
];

describe("entry values", () => {
  test.each(VALUES)("#%s %s", (_id, _what, built, value) => {
    expect(built).toEqual(pte(value));
  });

  test("#6 predicates of #5", () => {
    expect([
      pte_present(none),
      pte_protnone(none),
      pte_dirty(none),
      pte_write(none),
      pte_global(none),
    ]).toEqual([true, true, true, false, true]);
  });
  test("#31 the stray erratum value 0x60 is none and not present", () => {
    expect([pte_none(pte(0x60n)), pte_present(pte(0x60n))]).toEqual([true, false]);
  });
  test("#32 on a swap entry pte_special and pte_soft_dirty read other fields", () => {
    expect([pte_special(readEntry), pte_soft_dirty(readEntry)]).toEqual([false, true]);
  });
  test("#37 slot indices (pgd, pud, pmd, pte) of 0x7F0000200000", () => {
    expect(slots(0x7f00_0020_0000)).toEqual([254, 0, 1, 0]);
  });
  test("#38 slot indices of 0x7F0000280000 and 0x7F0000234000", () => {
    expect(slots(0x7f00_0028_0000)).toEqual([254, 0, 1, 128]);
    expect(slots(0x7f00_0023_4000)).toEqual([254, 0, 1, 52]);
  });

  test.each([
    ["12", 0, 1, 0x1n],
    ["14", 1, 0x1234, 0x0200_0000_0000_1234n],
    ["16", 28, 0xabcde, 0x3800_0000_000a_bcden],
    ["18", 29, 0x12345, 0x3a00_0000_0001_2345n],
    ["19", 30, 0x12345, 0x3c00_0000_0001_2345n],
    ["20", 31, 0x12345, 0x3e00_0000_0001_2345n],
  ])("#%s generic form of type %i offset %i", (_id, type, offset, value) => {
    expect(swp_entry(type, offset)).toEqual(pte(value));
  });
});

describe("pte form and generic form", () => {
  test("soft-dirty and stray A and D bits do not reach the generic form", () => {
    for (const value of [0x48d_0200n, 0x48d_0280n, 0x48d_0260n]) {
      expect(format.pte_to_swp_entry(pte(value))).toEqual(swp_entry(1, 0x1234));
    }
  });

  test("clearing soft-dirty gives the entry back", () => {
    for (const each of [format, early, l1tf, late]) {
      const entry = each.swp_entry_to_pte(swp_entry(3, 77));
      const marked = each.pte_swp_mksoft_dirty(entry);
      expect(each.pte_swp_soft_dirty(marked)).toBe(true);
      expect(each.pte_swp_clear_soft_dirty(marked)).toEqual(entry);
      expect(each.pte_swp_soft_dirty(entry)).toBe(false);
    }
  });

  test("types of 4.13: 29 poison, 30 and 31 migration, all below are swap areas", () => {
    const kinds = Array.from({ length: 32 }, (_, type) => {
      const entry = swp_entry(type, 5);
      return [
        format.non_swap_entry(entry),
        format.is_hwpoison_entry(entry),
        format.is_migration_entry(entry),
      ];
    });
    expect(kinds.slice(0, 29).every((kind) => kind.every((is) => !is))).toBe(true);
    expect(kinds[29]).toEqual([true, true, false]);
    expect(kinds[30]).toEqual([true, false, true]);
    expect(kinds[31]).toEqual([true, false, true]);
    expect(format.is_write_migration_entry(swp_entry(31, 5))).toBe(true);
    expect(format.is_write_migration_entry(swp_entry(30, 5))).toBe(false);
    expect(format.is_pte_marker_entry(swp_entry(31, 5))).toBe(false);
  });

  test("a guest may number its types differently (no MEMORY_FAILURE: 30 areas, migration at 30 and 31)", () => {
    const types = { ...format.types, swapfiles: 30, hwpoison: -1 };
    const other = new PteFormat(pteLayout("linux-4.13"), types);
    expect(other.non_swap_entry(swp_entry(29, 1))).toBe(false);
    expect(other.is_migration_entry(swp_entry(30, 1))).toBe(true);
  });

  test("fields that do not fit are refused by name", () => {
    expect(() => swp_entry(32, 0)).toThrow(/swap type 32.*0 to 31/);
    expect(() => swp_entry(0, 2 ** 50)).toThrow(/swap offset 1125899906842624/);
    expect(() => swp_entry(0, -1)).toThrow(RangeError);
    expect(() => pteLayout("linux-2.4")).toThrow(/linux-2\.4.*linux-4\.13/);
    expect(() => pteLayout("constructor")).toThrow(RangeError);
  });
});

/**
 * Entries of a running 6.1.192 guest beside the word that its /proc/PID/pagemap gave for them (guest-a1: process and
 * address). A swap word is 1<<62 | offset<<5 | type, a present one 1<<63 | pfn, with soft-dirty in bit 55.
 */
describe("linux-6.1, checked against a running guest", () => {
  test.each([
    ["swap 0x140000060000", 0x07ff_ffff_fffb_3e02n, 0x4080_0000_0000_4c00n],
    ["swap 0x140000061000", 0x07ff_ffff_fffb_3c02n, 0x4080_0000_0000_4c20n],
    ["hwp 0x1d0000005000", 0xd7ff_ffff_fee6_3e00n, 0x4080_0000_0011_9c1an],
    ["hwp 0x1d0000009000", 0xd7ff_ffff_fee6_3600n, 0x4080_0000_0011_9c9an],
    ["uffd 0x1a0040014000", 0xf7ff_ffff_ffff_fc00n, 0x4280_0000_0000_003en],
  ])("swap form: %s", (_where, value, word) => {
    const entry = late.pte_to_swp_entry(pte(value));
    expect(swp_type(entry)).toBe(Number(word & 31n));
    expect(swp_offset(entry)).toBe(Number((word >> 5n) & ((1n << 50n) - 1n)));
    expect(late.swp_entry_to_pte(entry)).toEqual(late.pte_swp_clear_soft_dirty(pte(value)));
  });

  test("soft-dirty of a swap entry is bit 1", () => {
    expect(late.pte_swp_soft_dirty(pte(0x07ff_ffff_fffb_3e02n))).toBe(true);
    // This page is soft-dirty through its vma only.
    expect(late.pte_swp_soft_dirty(pte(0xd7ff_ffff_fee6_3e00n))).toBe(false);
  });

  test.each([
    ["vmas 0x200000012000", 0x000f_ffff_f051_7960n, 0xfae8],
    ["vmas 0x200000013000", 0x000f_ffff_f051_6960n, 0xfae9],
    ["fz-0 0x1e00001f2000", 0x000f_ffff_fd63_c120n, 0x29c3],
    ["fz-0 0x1e0000263000, the zero page", 0x000f_ffff_fcce_f320n, 0x3310],
  ])("PROT_NONE keeps the frame inverted: %s", (_where, value, pfn) => {
    const entry = pte(value);
    expect([pte_protnone(entry), is_swap_pte(entry)]).toEqual([true, false]);
    expect(late.pte_pfn(entry)).toBe(pfn);
  });

  test("PROT_NONE of a huge pmd: none 0x7f3597000000, frame 0x8000", () => {
    const pmd = pte(0x000f_ffff_f7e0_09e0n);
    expect(late.pmd_pfn(pmd)).toBe(0x8000);
    // What made it: mprotect of a dirty, soft-dirty huge page.
    const mapped = pte_mkwrite(pte_mkdirty(late.mk_huge_pmd(Pfn.of(0x8000), PAGE_COPY)));
    expect(late.pmd_modify(mapped, PAGE_NONE)).toEqual(pmd);
  });

  test.each([
    ["cow-parent 0x4d5000", 0x8000_0000_029f_7845n, 0x29f7],
    ["pkey 0x180000004000, key 1", 0x8800_0000_083d_7867n, 0x83d7],
    ["uffd 0x1a0000010000, write-protected", 0x8000_0000_0fba_cc65n, 0xfbac],
  ])("present: %s", (_where, value, pfn) => {
    expect(late.pte_pfn(pte(value))).toBe(pfn);
  });

  test("special types: poison 26, migration 27 to 29, marker 30, swap-in error 31", () => {
    const of = (type: number) => {
      const entry = swp_entry(type, 1);
      return {
        area: !late.non_swap_entry(entry),
        poison: late.is_hwpoison_entry(entry),
        migration: late.is_migration_entry(entry),
        marker: late.is_pte_marker_entry(entry),
      };
    };
    const NO = { area: false, poison: false, migration: false, marker: false };
    expect(of(25)).toEqual({ ...NO, area: true });
    expect(of(26)).toEqual({ ...NO, poison: true });
    for (const type of [27, 28, 29]) expect(of(type)).toEqual({ ...NO, migration: true });
    // A marker is neither swapped out nor migrating.
    expect(of(30)).toEqual({ ...NO, marker: true });
    expect(of(31)).toEqual(NO);
    expect(late.types.swapinError).toBe(31);
  });

  test("pte_modify keeps DEVMAP, PAT and UFFD_WP, which 4.13 drops", () => {
    const entry = pte(0x0400_0000_1234_5ce7n);
    expect(late.pte_modify(entry, PAGE_COPY)).toEqual(pte(0x8400_0000_1234_5ce5n));
    expect(format.pte_modify(entry, PAGE_COPY)).toEqual(pte(0x8000_0000_1234_5865n));
  });
});

describe("uffd-wp and exclusive flags", () => {
  const old = new PteFormat(pteLayout("linux-4.13"));
  test("of a swap entry: bits 2 and 3, and no part of its type or offset", () => {
    const flagged = pte(0x07ff_ffff_ffff_fc0cn);
    expect([late.pte_swp_uffd_wp(flagged), late.pte_swp_exclusive(flagged)]).toEqual([true, true]);
    expect([late.pte_swp_uffd_wp(pte(0x07ff_ffff_ffff_fc08n)), late.pte_swp_exclusive(pte(4n))]).toEqual([
      false,
      false,
    ]);
    expect(late.pte_to_swp_entry(flagged)).toEqual(swp_entry(0, 1));
  });

  test("of a present entry: bit 10", () => {
    expect([late.pte_uffd_wp(pte(0x425n)), late.pte_uffd_wp(pte(0x25n))]).toEqual([true, false]);
  });

  test("4.13 has none of them", () => {
    const ones = pte(0xffff_ffff_ffff_ffffn);
    expect([old.pte_swp_uffd_wp(ones), old.pte_swp_exclusive(ones), old.pte_uffd_wp(ones)]).toEqual([
      false,
      false,
      false,
    ]);
  });
});

test("make_migration_entry_read: the same frame, without the right to write", () => {
  for (const format of [new PteFormat(pteLayout("linux-4.13")), late]) {
    const read = format.make_migration_entry_read(format.make_migration_entry(Pfn.of(0x12345), true));
    expect(read).toEqual(format.make_migration_entry(Pfn.of(0x12345), false));
    expect([format.is_migration_entry(read), format.is_write_migration_entry(read)]).toEqual([true, false]);
  }
});

describe("linux-6.12, for decoding only", () => {
  test("special types: poison 27, migration 28 to 30, marker 31 with its flags in the offset", () => {
    const kind = (type: number) => {
      const entry = swp_entry(type, 1);
      return [
        latest.non_swap_entry(entry),
        latest.is_hwpoison_entry(entry),
        latest.is_migration_entry(entry),
        latest.is_pte_marker_entry(entry),
      ];
    };
    expect(kind(26)).toEqual([false, false, false, false]);
    expect(kind(27)).toEqual([true, true, false, false]);
    for (const type of [28, 29, 30]) expect(kind(type)).toEqual([true, false, true, false]);
    expect(kind(31)).toEqual([true, false, false, true]);
    expect(latest.types.swapinError).toBeNull();
  });

  test.each([
    ["marker, uffd-wp", 31, 1, 0xffff_ffff_ffff_fc00n],
    ["marker, poison", 31, 2, 0xffff_ffff_ffff_fa00n],
    ["swap type 0 offset 1", 0, 1, 0x07ff_ffff_ffff_fc00n],
    ["poison of frame 0x8ce0", 27, 0x8ce0, 0xdfff_ffff_fee6_3e00n],
  ])("%s", (_what, type, offset, value) => {
    const entry = latest.pte_to_swp_entry(pte(value));
    expect([swp_type(entry), swp_offset(entry)]).toEqual([type, offset]);
  });

  test("PROT_NONE is inverted, soft-dirty bit 1, uffd-wp bit 2, exclusive bit 3, saved-dirty bit 58", () => {
    expect(latest.pte_pfn(pte(0x000f_ffff_edcb_a120n))).toBe(0x12345);
    const { swap: bits, savedDirtyBit, decodeOnly } = latest.layout;
    expect([bits.softDirtyBit, bits.uffdWpBit, bits.exclusiveBit, savedDirtyBit]).toEqual([1, 2, 3, 58]);
    expect(decodeOnly).toBe(true);
  });
});
