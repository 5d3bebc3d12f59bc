import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Pfn } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import { pmd_present, pmd_trans_huge, pte_mkdirty } from "../../../../arch/x86/mm/pgtable.ts";
import {
  PAGE_COPY,
  PAGE_COPY_EXEC,
  PAGE_NONE,
  PAGE_SHARED,
  PAGE_SHARED_EXEC,
} from "../../../../arch/x86/mm/pgtable_types.ts";
import { PTE_LAYOUTS, PteFormat } from "../../../../arch/x86/mm/pte-format.ts";
import { swp_entry, swp_offset, swp_type } from "../../../../arch/x86/mm/swap-entry.ts";

/* What holds in every layout, whatever the values. */

const word = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const prots = fc.constantFrom(PAGE_NONE, PAGE_SHARED, PAGE_SHARED_EXEC, PAGE_COPY, PAGE_COPY_EXEC);
const offset50 = fc.oneof(
  fc.maxSafeNat().filter((n) => n < 2 ** 50),
  fc.nat(),
  fc.constant(2 ** 50 - 1),
);

describe.each(Object.values(PTE_LAYOUTS).map((layout) => new PteFormat(layout)))(
  "every layout: $layout.name",
  (each) => {
    test("67: decode(encode(type, offset)) is the same and no encoding looks present", () => {
      fc.assert(
        fc.property(fc.integer({ min: 0, max: 31 }), offset50, fc.boolean(), (type, offset, softDirty) => {
          const entry = each.swp_entry_to_pte(swp_entry(type, offset));
          expect(entry.lo & 0x101).toBe(0);
          expect(each.pte_swp_soft_dirty(entry)).toBe(false);
          const back = each.pte_to_swp_entry(softDirty ? each.pte_swp_mksoft_dirty(entry) : entry);
          expect([swp_type(back), swp_offset(back)]).toEqual([type, offset]);
        }),
      );
    });

    test("40: pte_modify keeps frame, A, D, soft-dirty, SPECIAL, PCD and PWT, and takes the rest from the protection", () => {
      const pfns = fc.integer({ min: 1, max: 2 ** (each.layout.physicalBits - 12) - 1 });
      const KEPT = 0xa78;
      fc.assert(
        fc.property(
          pfns,
          prots,
          fc.array(prots, { minLength: 1, maxLength: 5 }),
          word,
          (pfn, prot, next, bits) => {
            let entry = each.mk_pte(pfn as Pfn, prot);
            entry = new Entry(entry.lo | (Number(bits & 0xffffn) & KEPT), entry.hi);
            const kept = entry.lo & KEPT;
            for (const newprot of next) {
              entry = each.pte_modify(entry, newprot);
              expect(each.pte_pfn(entry)).toBe(pfn);
              // The protection may itself set A; nothing may be lost.
              expect(entry.lo & KEPT & kept).toBe(kept);
              expect(entry.lo & 0x107).toBe(newprot.lo & 0x107);
              expect(entry.hi >>> 31).toBe(newprot.hi >>> 31);
            }
          },
        ),
      );
    });

    test("40: pmd_modify keeps the huge frame, PSE and the kept flags, whichever way P changes", () => {
      const heads = fc.integer({ min: 1, max: 2 ** (each.layout.physicalBits - 21) - 1 }).map((n) => n * 512);
      fc.assert(
        fc.property(heads, prots, prots, (head, prot, newprot) => {
          const made = each.mk_huge_pmd(head as Pfn, prot);
          expect(each.pmd_pfn(made)).toBe(head);
          // The bits between a small and a huge frame number hold PAT_LARGE and reserved bits.
          expect(made.lo & 0x1f_f000).toBe(0);
          const modified = each.pmd_modify(pte_mkdirty(made), newprot);
          expect(each.pmd_pfn(modified)).toBe(head);
          expect(modified.lo & 0x1f_f8c0).toBe(0x8c0);
          expect(each.pmd_modify(modified, prot)).toEqual(pte_mkdirty(made));
        }),
      );
    });

    test("a huge pmd made not present keeps its frame and still counts as a THP", () => {
      const pmd = each.mk_huge_pmd(Pfn.of(0x40000), PAGE_SHARED);
      const gone = each.pmd_mknotpresent(pmd);
      expect([gone.lo & 0x101, each.pmd_pfn(gone)]).toEqual([0, 0x40000]);
      expect([pmd_present(gone), pmd_trans_huge(gone)]).toEqual([true, true]);
      const none = each.mk_huge_pmd(Pfn.of(0x40000), PAGE_NONE);
      expect(each.pmd_pfn(each.pmd_mknotpresent(none))).toBe(0x40000);
    });

    test("68: no protection gives a present user entry that is global", () => {
      fc.assert(
        fc.property(fc.nat(0xfffff), prots, prots, (pfn, prot, newprot) => {
          for (const entry of [
            each.mk_pte(pfn as Pfn, prot),
            each.pte_modify(each.mk_pte(pfn as Pfn, prot), newprot),
          ]) {
            expect(entry.lo & 0x101).not.toBe(0x101);
          }
        }),
      );
    });

    test("mk_pte and pte_pfn are inverse up to the widest frame number", () => {
      const widest = 2 ** (each.layout.physicalBits - 12) - 1;
      for (const pfn of [0, 1, 0xfffff, 0x100000, widest]) {
        for (const prot of [PAGE_NONE, PAGE_COPY])
          expect(each.pte_pfn(each.mk_pte(pfn as Pfn, prot))).toBe(pfn);
      }
    });
  },
);
