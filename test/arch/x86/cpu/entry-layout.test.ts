import { describe, expect, it } from "vitest";
import { Entry } from "../../../../arch/x86/cpu/entry.ts";
import type { EntryKind, LayoutModel } from "../../../../arch/x86/cpu/entry-layout.ts";
import * as layout from "../../../../arch/x86/cpu/entry-layout.ts";

const { ENTRY_KINDS, ENTRY_LAYOUT, addressMask, bitsOf, decode, kindOf, maskOfUse, reservedMask, useOf } =
  layout;

const WIDE: LayoutModel = { vendor: "intel", maxPhyAddr: 52, gbPages: true };

const LOW_RESERVED: Record<EntryKind, bigint> = {
  pml5e: 0x80n,
  pml4e: 0x80n,
  "pdpte-table": 0n,
  "pdpte-1g": 0x3fff_e000n,
  "pde-table": 0n,
  "pde-2m": 0x1f_e000n,
  pte: 0n,
};

/** Rows of SDM table 4-19: bits above MAXPHYADDR, and the frame mask below it. */
const BY_WIDTH: [number, bigint, bigint][] = [
  [36, 0x000f_fff0_0000_0000n, 0x0000_000f_ffff_f000n],
  [39, 0x000f_ff80_0000_0000n, 0x0000_007f_ffff_f000n],
  [40, 0x000f_ff00_0000_0000n, 0x0000_00ff_ffff_f000n],
  [42, 0x000f_fc00_0000_0000n, 0x0000_03ff_ffff_f000n],
  [46, 0x000f_c000_0000_0000n, 0x0000_3fff_ffff_f000n],
  [48, 0x000f_0000_0000_0000n, 0x0000_ffff_ffff_f000n],
  [52, 0n, 0x000f_ffff_ffff_f000n],
];

describe("entry layout", () => {
  it.each(ENTRY_KINDS)(
    "gives each of the 64 bits of a %s to exactly one field, for every MAXPHYADDR",
    (kind) => {
      for (let maxPhyAddr = 36; maxPhyAddr <= 52; maxPhyAddr++) {
        const owners = new Array(64).fill(0);
        for (const field of ENTRY_LAYOUT) {
          if (useOf(field, kind, WIDE) === undefined) continue;
          const [high, low] = bitsOf(field, maxPhyAddr);
          for (let bit = low; bit <= high; bit++) owners[bit]++;
        }
        expect(owners).toEqual(new Array(64).fill(1));
      }
    },
  );

  it.each(BY_WIDTH)(
    "MAXPHYADDR %i reserves what is above it and addresses what is below",
    (width, high, frame) => {
      const model = { ...WIDE, maxPhyAddr: width };
      for (const kind of ENTRY_KINDS) {
        expect(reservedMask(kind, model).toBigInt()).toBe(high | LOW_RESERVED[kind]);
      }
      expect(addressMask("pte", model).toBigInt()).toBe(frame);
      expect(addressMask("pde-table", model).toBigInt()).toBe(frame);
      expect(addressMask("pde-2m", model).toBigInt()).toBe(frame & 0x000f_ffff_ffe0_0000n);
      expect(addressMask("pdpte-1g", model).toBigInt()).toBe(frame & 0x000f_ffff_c000_0000n);
    },
  );

  it("reserves bit 63 without NXE, PS of a PDPTE without 1-GiB pages, bit 8 of a PML4E on AMD", () => {
    for (const kind of ENTRY_KINDS) {
      const extra =
        reservedMask(kind, { ...WIDE, nxe: false }).toBigInt() ^ reservedMask(kind, WIDE).toBigInt();
      expect(extra).toBe(1n << 63n);
    }
    expect(reservedMask("pdpte-1g", { ...WIDE, gbPages: false }).lo & 0x80).toBe(0x80);
    expect(reservedMask("pml4e", { ...WIDE, vendor: "amd" }).lo).toBe(0x180);
    expect(reservedMask("pml5e", { ...WIDE, vendor: "amd" }).lo).toBe(0x180);
    expect(reservedMask("pdpte-table", { ...WIDE, vendor: "amd" }).lo).toBe(0);
  });

  it("uses G only under PGE and keys only when they are on", () => {
    expect(maskOfUse("used", "pte", WIDE).toBigInt()).toBe(0xf800_0000_0000_01ffn);
    expect(maskOfUse("used", "pte", { ...WIDE, pge: false, keys: false }).toBigInt()).toBe(
      0x8000_0000_0000_00ffn,
    );
  });

  it("has the masks of hot code where the manual has the bits", () => {
    expect([layout.PTE_P, layout.PTE_W, layout.PTE_U, layout.PTE_PWT, layout.PTE_PCD]).toEqual([
      1, 2, 4, 8, 0x10,
    ]);
    expect([layout.PTE_A, layout.PTE_D, layout.PTE_PS, layout.PTE_G]).toEqual([0x20, 0x40, 0x80, 0x100]);
    expect([layout.PTE_PAT, layout.PTE_PAT_LARGE, layout.PTE_XD]).toEqual([0x80, 0x1000, 0x8000_0000 | 0]);
  });

  it("tells kinds apart by level and PS", () => {
    expect([5, 4, 3, 2, 1].map((level) => kindOf(level, 1))).toEqual([
      "pml5e",
      "pml4e",
      "pdpte-table",
      "pde-table",
      "pte",
    ]);
    expect([3, 2, 1].map((level) => kindOf(level, 0x81))).toEqual(["pdpte-1g", "pde-2m", "pte"]);
    expect(() => kindOf(6, 0)).toThrow("level 6");
  });

  it("decodes a PTE field by field", () => {
    const fields = decode("pte", Entry.fromBigInt(0x8800_0000_1234_5867n), { ...WIDE, maxPhyAddr: 46 });
    const values = Object.fromEntries(fields.filter((f) => f.value !== 0).map((f) => [f.name, f.value]));
    expect(values).toEqual({
      XD: 1,
      key: 1,
      address: 0x12345,
      available: 4,
      A: 1,
      D: 1,
      "U/S": 1,
      "R/W": 1,
      P: 1,
    });
    expect(decode("pte", Entry.fromBigInt(0x20n)).find((f) => f.name === "A")?.use).toBe("ignored");
  });
});
