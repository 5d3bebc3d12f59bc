import { describe, expect, test } from "vitest";
import { Pfn } from "../../../../arch/x86/cpu/address.ts";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import { Machine } from "../../../../arch/x86/cpu/machine.ts";
import { read_pkru } from "../../../../arch/x86/mm/kernel-context.ts";
import * as pgtable from "../../../../arch/x86/mm/pgtable.ts";
import {
  _KERNPG_TABLE,
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_GLOBAL,
  _PAGE_KNL_ERRATUM_MASK,
  _PAGE_PCD,
  _PAGE_PRESENT,
  _PAGE_PROTNONE,
  _PAGE_PSE,
  _PAGE_PWT,
  _PAGE_RW,
  _PAGE_SOFT_DIRTY,
  _PAGE_SPECIAL,
  _PAGE_TABLE,
  _PAGE_UFFD_WP,
  _PAGE_USER,
  LINUX_BITS,
  PAGE_NONE,
  PAGE_SHARED,
  protection_map,
  VM_EXEC,
  VM_READ,
  VM_SHARED,
  VM_WRITE,
  vm_get_page_prot,
} from "../../../../arch/x86/mm/pgtable_types.ts";
import { PteFormat, pteLayout } from "../../../../arch/x86/mm/pte-format.ts";
import { Kernel } from "../../../../src/mm/kernel.ts";

const e = (value: bigint) => Entry.fromBigInt(value);
const PFN_MASK_HI = new PteFormat(pteLayout("linux-4.13")).pfnMaskHi;

describe("bits and masks", () => {
  test("the masks that code tests are the bits of the table", () => {
    const byName = new Map(LINUX_BITS.map(({ name, bit }) => [name, bit]));
    for (const [name, mask] of [
      ["PRESENT", _PAGE_PRESENT],
      ["RW", _PAGE_RW],
      ["USER", _PAGE_USER],
      ["PWT", _PAGE_PWT],
      ["PCD", _PAGE_PCD],
      ["ACCESSED", _PAGE_ACCESSED],
      ["DIRTY", _PAGE_DIRTY],
      ["PSE", _PAGE_PSE],
      ["GLOBAL", _PAGE_GLOBAL],
      ["SPECIAL", _PAGE_SPECIAL],
      ["UFFD_WP", _PAGE_UFFD_WP],
      ["SOFT_DIRTY", _PAGE_SOFT_DIRTY],
    ] as const) {
      expect([name, mask]).toEqual([name, 2 ** (byName.get(name) ?? -1)]);
    }
    expect([_PAGE_PROTNONE, _PAGE_TABLE, _KERNPG_TABLE, _PAGE_KNL_ERRATUM_MASK]).toEqual([
      0x100, 0x67, 0x63, 0x60,
    ]);
    expect([byName.get("DEVMAP"), byName.get("NX")]).toEqual([58, 63]);
  });

  test.each([
    ["linux-4.13", 0x0000_3fff_ffff_f000n],
    ["linux-4.14", 0x0000_3fff_ffff_f000n],
    ["l1tf", 0x000f_ffff_ffff_f000n],
    ["linux-6.1", 0x000f_ffff_ffff_f000n],
  ])("PTE_PFN_MASK of %s", (layout, mask) => {
    const format = new PteFormat(pteLayout(layout));
    expect(new Entry(0xffff_f000, format.pfnMaskHi)).toEqual(e(mask));
    // All 64 bits set: what pte_pfn sees is the mask.
    expect(BigInt(format.pte_pfn(new Entry(-1, -1))) << 12n).toBe(mask);
  });

  test("PHYSICAL_PMD_PAGE_MASK of 4.13 is 0x3FFFFFE00000, seen through pmd_pfn", () => {
    const format = new PteFormat(pteLayout("linux-4.13"));
    expect(BigInt(format.pmd_pfn(new Entry(-1, -1))) << 12n).toBe(0x3fff_ffe0_0000n);
    expect(BigInt(format.pmd_pfn(new Entry(~_PAGE_PSE, -1))) << 12n).toBe(0x3fff_ffff_f000n);
  });

  test("_PAGE_CHG_MASK is 0x3FFFFFFFFA78 and _HPAGE_CHG_MASK has PSE with it: what an all-ones entry keeps", () => {
    const format = new PteFormat(pteLayout("linux-4.13"));
    const ones = new Entry(-1, -1);
    const zero = new Entry(0, 0);
    expect(format.pte_modify(ones, zero)).toEqual(e(0x0000_3fff_ffff_fa78n));
    expect(format.pmd_modify(ones, zero)).toEqual(e(0x0000_3fff_ffff_faf8n));
    expect(format.pte_modify(zero, ones)).toEqual(e(0xffff_c000_0000_0587n));
  });
});

describe("protection_map", () => {
  const RO = 0x8000_0000_0000_0025n;
  const RW = 0x8000_0000_0000_0027n;
  test.each([
    ["---", 0, 0x120n, 0x120n],
    ["r--", VM_READ, RO, RO],
    ["-w-", VM_WRITE, RO, RW],
    ["rw-", VM_READ | VM_WRITE, RO, RW],
    ["--x", VM_EXEC, 0x25n, 0x25n],
    ["r-x", VM_READ | VM_EXEC, 0x25n, 0x25n],
    ["-wx", VM_WRITE | VM_EXEC, 0x25n, 0x27n],
    ["rwx", VM_READ | VM_WRITE | VM_EXEC, 0x25n, 0x27n],
  ])("%s private and shared", (_what, flags, priv, shared) => {
    expect(vm_get_page_prot(flags)).toEqual(e(priv));
    expect(vm_get_page_prot(flags | VM_SHARED)).toEqual(e(shared));
    // Other vm_flags do not choose a protection.
    expect(vm_get_page_prot(flags | 0x0820_2020)).toEqual(e(priv));
  });

  test("no private protection is writable", () => {
    for (const prot of protection_map.slice(0, 8)) expect(prot.lo & _PAGE_RW).toBe(0);
  });
});

describe("pte tests", () => {
  const SWAP = 0x48d_0200n;
  test.each([
    ["none", 0n, { none: true, present: false, swap: false }],
    ["stray A", 0x20n, { none: true, present: false, swap: false }],
    ["stray D", 0x40n, { none: true, present: false, swap: false }],
    ["stray A and D", 0x60n, { none: true, present: false, swap: false }],
    ["a bit of the high word only", 1n << 40n, { none: false, present: false, swap: true }],
    ["present", 0x1234_5025n, { none: false, present: true, swap: false }],
    ["PROT_NONE", 0x1234_5120n, { none: false, present: true, swap: false }],
    ["swap", SWAP, { none: false, present: false, swap: true }],
    ["swap with stray A and D", SWAP | 0x60n, { none: false, present: false, swap: true }],
  ])("%s", (_what, value, expected) => {
    const pte = e(value);
    expect({
      none: pgtable.pte_none(pte),
      present: pgtable.pte_present(pte),
      swap: pgtable.is_swap_pte(pte),
    }).toEqual(expected);
  });

  test("pte_same compares all 64 bits, A and D included", () => {
    expect(pgtable.pte_same(e(0x8000_0000_1234_5867n), e(0x8000_0000_1234_5867n))).toBe(true);
    expect(pgtable.pte_same(e(0x8000_0000_1234_5867n), e(0x8000_0000_1234_5847n))).toBe(false);
    expect(pgtable.pte_same(e(0x8000_0000_1234_5867n), e(0x0000_0000_1234_5867n))).toBe(false);
  });

  test("each test reads its bit and each setter changes only its bits", () => {
    const tests: [(pte: Entry) => boolean, bigint][] = [
      [pgtable.pte_write, 0x2n],
      [pgtable.pte_young, 0x20n],
      [pgtable.pte_dirty, 0x40n],
      [pgtable.pte_huge, 0x80n],
      [pgtable.pte_global, 0x100n],
      [pgtable.pte_special, 0x200n],
      [pgtable.pte_soft_dirty, 0x800n],
      [pgtable.pte_devmap, 1n << 58n],
    ];
    for (const [is, bit] of tests) {
      expect(is(e(bit))).toBe(true);
      expect(is(e(0xffff_ffff_ffff_ffffn ^ bit))).toBe(false);
    }
    expect(pgtable.pte_exec(e(1n << 63n))).toBe(false);
    expect(pgtable.pte_exec(e(0x7fff_ffff_ffff_ffffn))).toBe(true);
    const changes: [(pte: Entry) => Entry, bigint, boolean][] = [
      [pgtable.pte_mkwrite, 0x2n, true],
      [pgtable.pte_wrprotect, 0x2n, false],
      [pgtable.pte_mkyoung, 0x20n, true],
      [pgtable.pte_mkold, 0x20n, false],
      [pgtable.pte_mkdirty, 0x840n, true],
      [pgtable.pte_mkclean, 0x40n, false],
      [pgtable.pte_mkhuge, 0x80n, true],
      [pgtable.pte_mkspecial, 0x200n, true],
      [pgtable.pte_mkdevmap, (1n << 58n) | 0x200n, true],
      [pgtable.pte_mksoft_dirty, 0x800n, true],
      [pgtable.pte_clear_soft_dirty, 0x800n, false],
    ];
    for (const [change, bits, sets] of changes) {
      for (const value of [0n, 0xffff_ffff_ffff_ffffn, 0x8000_0000_1234_5025n]) {
        expect(change(e(value))).toEqual(e(sets ? value | bits : value & ~bits));
      }
    }
  });

  test("pte_unused is never true on x86", () => {
    expect(pgtable.pte_unused(new Entry(-1, -1))).toBe(false);
  });

  test.each([
    [0x25n, false, true],
    [0x25n, true, false],
    [0x27n, true, true],
    [0x23n, false, false],
    [0x120n, false, false],
  ])("pte_access_permitted(%s, write %s) is %s", (value, write, permitted) => {
    expect(pgtable.pte_access_permitted(e(value), write)).toBe(permitted);
  });
});

test("pte_access_permitted with keys: AD forbids all, WD writes, each key by its own two bits", () => {
  const key5 = e(0xa800_0000_1234_5027n);
  const asked = (pkru: number) => [
    pgtable.pte_access_permitted(key5, false, pkru),
    pgtable.pte_access_permitted(key5, true, pkru),
  ];
  expect(asked(0)).toEqual([true, true]);
  expect(asked(0b10 << 10)).toEqual([true, false]);
  expect(asked(0b01 << 10)).toEqual([false, false]);
  // Linux's own default denies every key but 0.
  expect(asked(0x5555_5554)).toEqual([false, false]);
  expect(asked(~(0b11 << 10))).toEqual([true, true]);
  // Key 15 is the topmost pair.
  expect(pgtable.pte_access_permitted(e(0xf800_0000_1234_5027n), true, 1 << 31)).toBe(false);
});

test("the current CPU's keys count only while CR4.PKE is set", () => {
  const machine = new Machine({ memory: "64MiB", cpus: 2, model: "intel-skylake-sp" });
  const kernel = new Kernel(machine);
  machine.cpu(0).control.set({ pkru: 0x5555_5554 });
  expect(read_pkru(kernel)).toBe(0);
  machine.cpu(0).control.set({ pke: true });
  expect(read_pkru(kernel)).toBe(0x5555_5554);
});

test("NUMA hinting keeps the right to write in the PROT_NONE entry", () => {
  const format = new PteFormat(pteLayout("linux-4.13"));
  const hinted = pgtable.pte_mk_savedwrite(format.pte_modify(e(0x8000_0000_1234_5867n), PAGE_NONE));
  expect([pgtable.pte_protnone(hinted), pgtable.pte_savedwrite(hinted)]).toEqual([true, true]);
  expect(pgtable.pte_savedwrite(pgtable.pte_clear_savedwrite(hinted))).toBe(false);
});

/** Which predicate is true of which pmd. The last row is the 4.13 trap: bit 7 doubles as PSE. */
describe("the predicate matrix", () => {
  test.each([
    ["nothing", 0x0n, true, false, false, true],
    ["stray A and D", 0x60n, true, false, false, true],
    ["table", 0x77_7067n, false, true, false, false],
    ["table, A lost", 0x77_7047n, false, true, false, true],
    ["THP, writable, dirty", 0x8000_0000_4000_08e7n, false, true, true, true],
    ["THP made not present", 0x8000_0000_4000_08e6n, false, true, true, true],
    ["THP PROT_NONE", 0x0000_0000_4000_09e0n, false, true, true, true],
    ["hugetlb migration read", 0x0000_0001_0000_3c00n, false, false, false, true],
    ["the same, soft-dirty", 0x0000_0001_0000_3c80n, false, true, true, true],
  ])("%s", (_what, value, none, present, transHuge, bad) => {
    const pmd = e(value);
    expect({
      none: pgtable.pmd_none(pmd),
      present: pgtable.pmd_present(pmd),
      transHuge: pgtable.pmd_trans_huge(pmd),
      bad: pgtable.pmd_bad(pmd, PFN_MASK_HI),
    }).toEqual({ none, present, transHuge, bad });
  });

  test("a kernel table, without USER, is not bad; bits 46 to 51 and NX make a table bad in 4.13", () => {
    expect(pgtable.pmd_bad(e(0x77_7063n), PFN_MASK_HI)).toBe(false);
    expect(pgtable.pmd_bad(e(0x77_7067n | (1n << 46n)), PFN_MASK_HI)).toBe(true);
    expect(pgtable.pmd_bad(e(0x77_7067n | (1n << 46n)), 0xf_ffff)).toBe(false);
    expect(pgtable.pmd_bad(e(0x77_7067n | (1n << 63n)), PFN_MASK_HI)).toBe(true);
  });

  test("DEVMAP takes a huge pmd out of the THPs", () => {
    const device = e(0x8400_0000_4000_00e7n);
    expect([pgtable.pmd_devmap(device), pgtable.pmd_trans_huge(device), pgtable.pmd_large(device)]).toEqual([
      true,
      false,
      true,
    ]);
  });

  test("pmd_huge is also true of hugetlb's migration and poison entries", () => {
    expect(pgtable.pmd_huge(e(0x0n))).toBe(false);
    expect(pgtable.pmd_huge(e(0x77_7067n))).toBe(false);
    expect(pgtable.pmd_huge(e(0x8000_0000_4000_08e7n))).toBe(true);
    expect(pgtable.pmd_huge(e(0x1_0000_3c00n))).toBe(true);
  });

  test.each([
    ["nothing", 0x0n, { none: true, present: false, bad: false, large: false, huge: false, thp: false }],
    ["table", 0x77_7067n, { none: false, present: true, bad: false, large: false, huge: false, thp: false }],
    [
      "table, A lost",
      0x77_7047n,
      { none: false, present: true, bad: false, large: false, huge: false, thp: false },
    ],
    [
      "1G page",
      0x8000_0000_4000_00e7n,
      { none: false, present: true, bad: true, large: true, huge: true, thp: true },
    ],
    [
      "1G PROT_NONE",
      0x4000_01a0n,
      { none: false, present: false, bad: true, large: false, huge: true, thp: true },
    ],
    [
      "1G device page",
      0x8400_0000_4000_00e7n,
      { none: false, present: true, bad: true, large: true, huge: true, thp: false },
    ],
  ])("pud: %s", (_what, value, expected) => {
    const pud = e(value);
    expect({
      none: pgtable.pud_none(pud),
      present: pgtable.pud_present(pud),
      bad: pgtable.pud_bad(pud, PFN_MASK_HI),
      large: pgtable.pud_large(pud),
      huge: pgtable.pud_huge(pud),
      thp: pgtable.pud_trans_huge(pud),
    }).toEqual(expected);
  });

  test("bits 46 to 51 are flags in 4.13 and make a table's pud bad", () => {
    expect(pgtable.pud_bad(e(0x77_7067n | (1n << 46n)), PFN_MASK_HI)).toBe(true);
    expect(pgtable.pud_bad(e(0x77_7067n | (1n << 46n)), 0xf_ffff)).toBe(false);
  });

  test("pmd_protnone", () => {
    const format = new PteFormat(pteLayout("linux-4.13"));
    const shared = format.mk_huge_pmd(Pfn.of(0x40000), PAGE_SHARED);
    expect(pgtable.pmd_protnone(shared)).toBe(false);
    expect(pgtable.pmd_protnone(format.pmd_modify(shared, PAGE_NONE))).toBe(true);
  });
});
