import type { Word } from "./case.ts";

/** The CPU that the expectations are for: physical addresses of 40 bits, with 1-GiB pages. */
export const TRICKY_MAXPHYADDR = 40;
/** CR3. Every word of the image that no case names is zero. */
export const TRICKY_ROOT = 0x1000;
/** Bytes of the image. Some leaves point beyond it. */
export const TRICKY_BYTES = 0x400_0000;

/** What a page allows and what its leaf says. */
export interface TrickyPage {
  readonly kind: "page";
  /** Physical address of the byte. */
  readonly pa: number;
  readonly bytes: 0x1000 | 0x20_0000 | 0x4000_0000;
  /** Effective rights: those of every entry on the path. */
  readonly write: boolean;
  readonly execute: boolean;
  readonly user: boolean;
  /** Of the leaf. */
  readonly accessed: boolean;
  readonly dirty: boolean;
  readonly global: boolean;
}

/** What every access to the address comes to, whatever its kind and mode. */
export type TrickyEnd =
  | TrickyPage
  /** #PF with P=0, or with P=1 and RSVD=1. */
  | { readonly kind: "not-present" }
  | { readonly kind: "reserved-bit" }
  /** #GP, no walk. */
  | { readonly kind: "non-canonical" };

/** One entry that programs get wrong, and what is right. */
export interface TrickyEntry {
  /** 1 to 19 as in the published table; more are additions to it. */
  readonly id: number;
  readonly name: string;
  /** Linear address of a byte inside the page. */
  readonly la: bigint;
  /** The words that make this case, beside the tables it shares with others. */
  readonly words: readonly Word[];
  readonly end: TrickyEnd;
}

const XD = 1n << 63n;
/** Bits 52 to 58, and key 5. */
const SOFT_BITS = (0x7fn << 52n) | (5n << 59n);
/** P, R/W, U/S, A, D; in a table D is ignored. */
const FULL = 0x67n;
/** The same for the supervisor alone. */
const KERNEL = 0x63n;

/** An ordinary 4-KiB page of user mode: all rights, A and D set. */
function page(pa: number, changes: Partial<Omit<TrickyPage, "kind" | "pa">> = {}): TrickyPage {
  return {
    kind: "page",
    pa,
    bytes: 0x1000,
    write: true,
    execute: true,
    user: true,
    accessed: true,
    dirty: true,
    global: false,
    ...changes,
  };
}

/**
 * Tables that several cases stand in: PML4 0x1000, and below its entry 0 a PDPT at 0x2000, a PD at 0x3000 and a PT at
 * 0x4000, all with every right.
 */
const SHARED: readonly Word[] = [
  { pa: 0x1000, value: 0x2000n | FULL },
  { pa: 0x2000, value: 0x3000n | FULL },
  { pa: 0x3000, value: 0x4000n | FULL },
];

/**
 * Nineteen entries that trip page-table tools, in one address space on one image, and three more: a table that maps
 * itself, a page that maps a table as data, and a leaf beyond memory. Words are disjoint, so that all stand together.
 */
export const TRICKY_ENTRIES: readonly TrickyEntry[] = [
  {
    id: 1,
    name: "plain 4-KiB page, writable, user",
    la: 0x1123n,
    words: [{ pa: 0x4008, value: 0x200_0000n | FULL }],
    end: page(0x200_0123),
  },
  {
    id: 2,
    name: "PDE has R/W=0, PTE has R/W=1",
    la: 0x20_0123n,
    words: [
      { pa: 0x3008, value: 0x5065n },
      { pa: 0x5000, value: 0x200_1000n | FULL },
    ],
    end: page(0x200_1123, { write: false }),
  },
  {
    id: 3,
    name: "PDPTE has U/S=0, PTE has U/S=1",
    la: 0x4000_0123n,
    words: [
      { pa: 0x2008, value: 0x6000n | KERNEL },
      { pa: 0x6000, value: 0x7000n | FULL },
      { pa: 0x7000, value: 0x200_2000n | FULL },
    ],
    end: page(0x200_2123, { user: false }),
  },
  {
    id: 4,
    name: "PML4E has XD=1, PTE has XD=0",
    la: 0x80_0000_0123n,
    words: [
      { pa: 0x1008, value: XD | 0x8000n | FULL },
      { pa: 0x8000, value: 0x9000n | FULL },
      { pa: 0x9000, value: 0xa000n | FULL },
      { pa: 0xa000, value: 0x200_3000n | FULL },
    ],
    end: page(0x200_3123, { execute: false }),
  },
  {
    id: 5,
    name: "2-MiB leaf with PAT, bit 12",
    la: 0x40_0123n,
    words: [{ pa: 0x3010, value: 0x220_10e7n }],
    end: page(0x220_0123, { bytes: 0x20_0000 }),
  },
  {
    id: 6,
    name: "4-KiB leaf with PAT, bit 7",
    la: 0x2123n,
    words: [{ pa: 0x4010, value: 0x200_40e7n }],
    end: page(0x200_4123),
  },
  {
    id: 7,
    name: "PML4E with PS=1",
    la: 0x100_0000_0123n,
    words: [{ pa: 0x1010, value: 0xe7n }],
    end: { kind: "reserved-bit" },
  },
  {
    id: 8,
    name: "swap entry, P=0",
    la: 0x3123n,
    words: [{ pa: 0x4018, value: 0x07ff_ffff_ffff_fc00n }],
    end: { kind: "not-present" },
  },
  {
    id: 9,
    name: "PROT_NONE: P=0, G=1",
    la: 0x4123n,
    words: [{ pa: 0x4020, value: 0x200_5120n }],
    end: { kind: "not-present" },
  },
  {
    id: 10,
    name: "1-GiB leaf",
    la: 0x8000_0123n,
    words: [{ pa: 0x2010, value: 0xe7n }],
    end: page(0x123, { bytes: 0x4000_0000 }),
  },
  {
    id: 11,
    name: "2-MiB leaf with reserved bit 13",
    la: 0x60_0123n,
    words: [{ pa: 0x3018, value: 0x240_20e7n }],
    end: { kind: "reserved-bit" },
  },
  {
    id: 12,
    name: "PTE with bit 51, above MAXPHYADDR",
    la: 0x5123n,
    words: [{ pa: 0x4028, value: (1n << 51n) | 0x200_0000n | FULL }],
    end: { kind: "reserved-bit" },
  },
  {
    id: 13,
    name: "software bits 58:52 and a protection key that is not in use",
    la: 0x6123n,
    words: [{ pa: 0x4030, value: SOFT_BITS | 0x200_6000n | FULL }],
    end: page(0x200_6123),
  },
  {
    id: 14,
    name: "A=0, D=0",
    la: 0x7123n,
    words: [{ pa: 0x4038, value: 0x200_7007n }],
    end: page(0x200_7123, { accessed: false, dirty: false }),
  },
  {
    id: 15,
    name: "global page",
    la: 0x8123n,
    words: [{ pa: 0x4040, value: 0x200_8167n }],
    end: page(0x200_8123, { global: true }),
  },
  {
    id: 16,
    name: "upper half, supervisor, XD",
    la: 0xffff_8000_0000_0123n,
    words: [
      { pa: 0x1800, value: 0xc000n | KERNEL },
      { pa: 0xc000, value: 0xd000n | KERNEL },
      { pa: 0xd000, value: 0xe000n | KERNEL },
      { pa: 0xe000, value: XD | 0x200_9163n },
    ],
    end: page(0x200_9123, { execute: false, user: false, global: true }),
  },
  {
    id: 17,
    name: "alias A",
    la: 0x180_0000_0123n,
    words: [
      { pa: 0x1018, value: 0xf000n | FULL },
      { pa: 0xf000, value: 0x1_0000n | FULL },
      { pa: 0x1_0000, value: 0x1_1000n | FULL },
      { pa: 0x1_1000, value: 0x200_a000n | FULL },
    ],
    end: page(0x200_a123),
  },
  {
    id: 18,
    name: "alias B: the PML4E of alias A again",
    la: 0x200_0000_0123n,
    words: [{ pa: 0x1020, value: 0xf000n | FULL }],
    end: page(0x200_a123),
  },
  {
    id: 19,
    name: "not canonical: bits 47:0 alone would lead to case 16",
    la: 0x0000_8000_0000_0123n,
    words: [],
    end: { kind: "non-canonical" },
  },
  {
    id: 20,
    name: "the PML4 in its own entry 510: the root as a page",
    la: 0xffff_ff7f_bfdf_e123n,
    words: [{ pa: 0x1ff0, value: XD | 0x1000n | KERNEL }],
    end: page(0x1123, { execute: false, user: false }),
  },
  {
    id: 21,
    name: "a page table mapped as a page by itself",
    la: 0xa123n,
    words: [{ pa: 0x4050, value: 0x4000n | FULL }],
    end: page(0x4123),
  },
  {
    id: 22,
    name: "leaf beyond memory: the firmware below 4 GiB, not cached",
    la: 0x9123n,
    words: [{ pa: 0x4048, value: 0xffff_f07bn }],
    end: page(0xffff_f123, { user: false }),
  },
];

/** Every word of the image. */
export const TRICKY_WORDS: readonly Word[] = [...SHARED, ...TRICKY_ENTRIES.flatMap(({ words }) => words)];
