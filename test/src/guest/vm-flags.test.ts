import { describe, expect, test } from "vitest";
import { VM_HUGETLB, VM_READ, VM_SHARED } from "../../../arch/x86/mm/pgtable_types.ts";
import { VM_FLAG_CODES, vmFlagsOf } from "../../../src/guest/vm-flags.ts";
import * as vma from "../../../src/mm/vma.ts";

describe("VmFlags", () => {
  test("each code and each bit stands once", () => {
    expect(new Set(VM_FLAG_CODES.map(({ code }) => code)).size).toBe(VM_FLAG_CODES.length);
    expect(new Set(VM_FLAG_CODES.map(({ bit }) => bit)).size).toBe(VM_FLAG_CODES.length);
  });

  test("the names that mm has, too, are the same bits there", () => {
    const masks = new Map<string, unknown>(Object.entries({ ...vma, VM_READ, VM_SHARED, VM_HUGETLB }));
    const common = VM_FLAG_CODES.filter(({ name }) => masks.has(name));
    expect(common.length).toBeGreaterThan(10);
    for (const { name, bit } of common) expect(masks.get(name)).toBe(1 << bit);
  });

  test("a code that is unknown adds nothing", () => {
    expect(vmFlagsOf(["rd", "sh", "??", "ui", "ht"])).toBe(VM_READ | VM_SHARED | VM_HUGETLB);
  });
});
