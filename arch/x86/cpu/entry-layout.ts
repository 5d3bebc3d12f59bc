import { Entry } from "./entry.ts";

/** The seven kinds of present paging-structure entries in long mode: four point to a table, three are leaves. */
export const ENTRY_KINDS = [
  "pml5e",
  "pml4e",
  "pdpte-table",
  "pdpte-1g",
  "pde-table",
  "pde-2m",
  "pte",
] as const;
/** Name of a kind of entry; a "pde-2m" is a PDE with PS=1. */
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** What hardware does with a field: obeys it, skips it, demands zero, or takes it as a physical address. */
export type FieldUse = "used" | "ignored" | "reserved" | "address";

/** What a field's use may depend on; each is a property of {@link LayoutModel}. */
export type LayoutCondition = "NXE" | "PGE" | "gbPages" | "ignoresTopG" | "keys";

/** A use, or one that holds only under a condition. */
export type ConditionalUse = FieldUse | { use: FieldUse; condition: LayoutCondition; otherwise: FieldUse };

/** A bit number; "M" is MAXPHYADDR, the width of physical addresses on a CPU model. */
export type BitBound = number | "M" | "M-1";

/** A field of paging-structure entries: a row of {@link ENTRY_LAYOUT}. */
export interface EntryField {
  readonly name: string;
  /** Highest and lowest bit. */
  readonly bits: readonly [BitBound, BitBound];
  readonly meaning: string;
  /** Only the kinds that have this field; other kinds use the same bits for another field. */
  readonly use: Readonly<Partial<Record<EntryKind, ConditionalUse>>>;
  /** Where the manual says so. */
  readonly section: string;
}

/** The part of a CPU model and its control registers that decides what is reserved. A CpuModel fits. */
export interface LayoutModel {
  readonly vendor: "intel" | "amd";
  /** MAXPHYADDR, 36..52. */
  readonly maxPhyAddr: number;
  readonly gbPages: boolean;
  /** Whether bit 8 of a PML4E or PML5E is reserved; left out, it is on AMD. */
  readonly amdNonleafG?: boolean;
  /** EFER.NXE; default true. */
  readonly nxe?: boolean;
  /** CR4.PGE; default true. */
  readonly pge?: boolean;
  /** Whether protection keys apply (CR4.PKE or CR4.PKS); default true. */
  readonly keys?: boolean;
}

const LEAVES = ["pdpte-1g", "pde-2m", "pte"] as const;
const TABLES = ["pml5e", "pml4e", "pdpte-table", "pde-table"] as const;
const TOP = ["pml5e", "pml4e"] as const;

function same(kinds: readonly EntryKind[], use: ConditionalUse): Partial<Record<EntryKind, ConditionalUse>> {
  return Object.fromEntries(kinds.map((kind) => [kind, use]));
}

const SECTION = "SDM vol. 3, 4.5";

/**
 * Every field of every kind of entry, declared once. Masks, the reserved-bit check of the walk, the decoder,
 * printers and reference pages derive from this table; for each kind its fields cover all 64 bits exactly once.
 */
export const ENTRY_LAYOUT: readonly EntryField[] = [
  {
    name: "P",
    bits: [0, 0],
    meaning: "present; when 0, every other bit is ignored",
    use: same(ENTRY_KINDS, "used"),
    section: SECTION,
  },
  {
    name: "R/W",
    bits: [1, 1],
    meaning: "writes allowed to the region this entry controls",
    use: same(ENTRY_KINDS, "used"),
    section: `${SECTION}, 4.6`,
  },
  {
    name: "U/S",
    bits: [2, 2],
    meaning: "user-mode accesses allowed to the region this entry controls",
    use: same(ENTRY_KINDS, "used"),
    section: `${SECTION}, 4.6`,
  },
  {
    name: "PWT",
    bits: [3, 3],
    meaning: "page-level write-through: bit 0 of the memory type's index",
    use: same(ENTRY_KINDS, "used"),
    section: "SDM vol. 3, 4.9",
  },
  {
    name: "PCD",
    bits: [4, 4],
    meaning: "page-level cache disable: bit 1 of the memory type's index",
    use: same(ENTRY_KINDS, "used"),
    section: "SDM vol. 3, 4.9",
  },
  {
    name: "A",
    bits: [5, 5],
    meaning: "accessed: a walk has used this entry; set by hardware, never cleared by it",
    use: same(ENTRY_KINDS, "used"),
    section: "SDM vol. 3, 4.8",
  },
  {
    name: "D",
    bits: [6, 6],
    meaning: "dirty: the page was written; set by hardware in leaves only",
    use: { ...same(TABLES, "ignored"), ...same(LEAVES, "used") },
    section: "SDM vol. 3, 4.8",
  },
  {
    name: "PS",
    bits: [7, 7],
    meaning: "page size: 1 maps a page here, 0 points to a table",
    use: {
      ...same(TOP, "reserved"),
      "pdpte-table": "used",
      "pdpte-1g": { use: "used", condition: "gbPages", otherwise: "reserved" },
      "pde-table": "used",
      "pde-2m": "used",
    },
    section: SECTION,
  },
  {
    name: "PAT",
    bits: [7, 7],
    meaning: "bit 2 of the memory type's index",
    use: { pte: "used" },
    section: "SDM vol. 3, 4.9.2",
  },
  {
    name: "G",
    bits: [8, 8],
    meaning: "global: the translation survives CR3 loads and serves every PCID",
    use: {
      ...same(TOP, { use: "ignored", condition: "ignoresTopG", otherwise: "reserved" }),
      "pdpte-table": "ignored",
      "pde-table": "ignored",
      ...same(LEAVES, { use: "used", condition: "PGE", otherwise: "ignored" }),
    },
    section: "SDM vol. 3, 4.10.2.4",
  },
  {
    name: "available",
    bits: [11, 9],
    meaning: "free for software",
    use: same(ENTRY_KINDS, "ignored"),
    section: SECTION,
  },
  {
    name: "PAT",
    bits: [12, 12],
    meaning: "bit 2 of the memory type's index",
    use: { "pdpte-1g": "used", "pde-2m": "used" },
    section: "SDM vol. 3, 4.9.2",
  },
  {
    name: "reserved",
    bits: [20, 13],
    meaning: "below the alignment of a 2-MiB page",
    use: { "pde-2m": "reserved" },
    section: SECTION,
  },
  {
    name: "reserved",
    bits: [29, 13],
    meaning: "below the alignment of a 1-GiB page",
    use: { "pdpte-1g": "reserved" },
    section: SECTION,
  },
  {
    name: "address",
    bits: ["M-1", 12],
    meaning: "physical address of the next table",
    use: same(TABLES, "address"),
    section: SECTION,
  },
  {
    name: "address",
    bits: ["M-1", 12],
    meaning: "physical address of the 4-KiB page",
    use: { pte: "address" },
    section: SECTION,
  },
  {
    name: "address",
    bits: ["M-1", 21],
    meaning: "physical address of the 2-MiB page",
    use: { "pde-2m": "address" },
    section: SECTION,
  },
  {
    name: "address",
    bits: ["M-1", 30],
    meaning: "physical address of the 1-GiB page",
    use: { "pdpte-1g": "address" },
    section: SECTION,
  },
  {
    name: "reserved",
    bits: [51, "M"],
    meaning: "above the CPU's physical-address width",
    use: same(ENTRY_KINDS, "reserved"),
    section: "SDM vol. 3, 4.1.4",
  },
  {
    name: "available",
    bits: [58, 52],
    meaning: "free for software",
    use: same(ENTRY_KINDS, "ignored"),
    section: SECTION,
  },
  {
    name: "key",
    bits: [62, 59],
    meaning: "protection key of the page; free for software in table entries",
    use: {
      ...same(TABLES, "ignored"),
      ...same(LEAVES, { use: "used", condition: "keys", otherwise: "ignored" }),
    },
    section: "SDM vol. 3, 4.6.2",
  },
  {
    name: "XD",
    bits: [63, 63],
    meaning: "instruction fetches not allowed from the region this entry controls",
    use: same(ENTRY_KINDS, { use: "used", condition: "NXE", otherwise: "reserved" }),
    section: "SDM vol. 3, 4.6",
  },
];

/** The kind of an entry by level (1 = PT .. 5 = PML5) and its low word, whose PS bit tells a leaf from a table. */
export function kindOf(level: number, lo: number): EntryKind {
  switch (level) {
    case 5:
      return "pml5e";
    case 4:
      return "pml4e";
    case 3:
      return (lo & PTE_PS) === 0 ? "pdpte-table" : "pdpte-1g";
    case 2:
      return (lo & PTE_PS) === 0 ? "pde-table" : "pde-2m";
    case 1:
      return "pte";
    default:
      throw new RangeError(`level ${level}: paging structures have levels 1 (PT) to 5 (PML5)`);
  }
}

/** Names of entries by level, as the manual prints them; index 0 is unused. */
export const LEVEL_NAMES = ["", "PTE", "PDE", "PDPTE", "PML4E", "PML5E"] as const;

/** Highest and lowest bit of a field for a MAXPHYADDR; high < low when the field is empty (51:M with M = 52). */
export function bitsOf(field: EntryField, maxPhyAddr: number): [number, number] {
  const resolve = (bound: BitBound): number =>
    bound === "M" ? maxPhyAddr : bound === "M-1" ? maxPhyAddr - 1 : bound;
  return [resolve(field.bits[0]), resolve(field.bits[1])];
}

/** How a field of this kind is used on this model, or undefined when the kind has no such field. */
export function useOf(field: EntryField, kind: EntryKind, model: LayoutModel): FieldUse | undefined {
  const use = field.use[kind];
  if (use === undefined || typeof use === "string") return use;
  return holds(use.condition, model) ? use.use : use.otherwise;
}

/** All bits of a kind that are used in the given way on this model. */
export function maskOfUse(wanted: FieldUse, kind: EntryKind, model: LayoutModel): Entry {
  let mask = 0n;
  for (const field of ENTRY_LAYOUT) {
    if (useOf(field, kind, model) === wanted) mask |= bitMask(bitsOf(field, model.maxPhyAddr));
  }
  return Entry.fromBigInt(mask);
}

/** The bits that must be zero in a present entry of this kind (a set one is a page fault with RSVD). */
export function reservedMask(kind: EntryKind, model: LayoutModel): Entry {
  return maskOfUse("reserved", kind, model);
}

/** The bits of an entry of this kind that form the physical address of its table or page. */
export function addressMask(kind: EntryKind, model: LayoutModel): Entry {
  return maskOfUse("address", kind, model);
}

/** A field with the value that one entry has in it. */
export interface DecodedField {
  name: string;
  /** Highest and lowest bit. */
  bits: [number, number];
  /** The field's bits, shifted down; at most 40 bits, so exact. For an address: value * 2 ** bits[1] is the address. */
  value: number;
  meaning: string;
  use: FieldUse;
  section: string;
}

/** A wide current CPU: what {@link decode} assumes when no model is given. */
export const WIDEST_LAYOUT: LayoutModel = { vendor: "intel", maxPhyAddr: 52, gbPages: true };

/**
 * The fields of an entry of a kind, highest bit first. In an entry with P=0 every field but P is reported as
 * ignored, as hardware treats it.
 */
export function decode(kind: EntryKind, entry: Entry, model: LayoutModel = WIDEST_LAYOUT): DecodedField[] {
  const value = entry.toBigInt();
  const fields: DecodedField[] = [];
  for (const field of ENTRY_LAYOUT) {
    const use = useOf(field, kind, model);
    const [high, low] = bitsOf(field, model.maxPhyAddr);
    if (use === undefined || high < low) continue;
    fields.push({
      name: field.name,
      bits: [high, low],
      value: Number((value & bitMask([high, low])) >> BigInt(low)),
      meaning: field.meaning,
      use: (entry.lo & PTE_P) !== 0 || low === 0 ? use : "ignored",
      section: field.section,
    });
  }
  return fields.sort((a, b) => b.bits[0] - a.bits[0]);
}

function holds(condition: LayoutCondition, model: LayoutModel): boolean {
  switch (condition) {
    case "NXE":
      return model.nxe ?? true;
    case "PGE":
      return model.pge ?? true;
    case "keys":
      return model.keys ?? true;
    case "gbPages":
      return model.gbPages;
    case "ignoresTopG":
      return !(model.amdNonleafG ?? model.vendor === "amd");
  }
}

function bitMask([high, low]: readonly [number, number]): bigint {
  return high < low ? 0n : ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low);
}

/** A one-bit field's mask in the word that holds it, for hot code. */
function wordMask(name: string, kind: EntryKind): number {
  const field = ENTRY_LAYOUT.find(
    (candidate) => candidate.name === name && candidate.use[kind] !== undefined,
  );
  if (field === undefined) throw new RangeError(`entry kind ${kind} has no field ${name}`);
  return (1 << (Number(field.bits[1]) & 31)) | 0;
}

/** P, bit 0: the entry is used. */
export const PTE_P: number = wordMask("P", "pte");
/** R/W, bit 1: writes are allowed. */
export const PTE_W: number = wordMask("R/W", "pte");
/** U/S, bit 2: user-mode accesses are allowed. */
export const PTE_U: number = wordMask("U/S", "pte");
/** PWT, bit 3: a part of the memory type (SDM vol. 3, 4.9 Paging and Memory Typing). */
export const PTE_PWT: number = wordMask("PWT", "pte");
/** PCD, bit 4: a part of the memory type. */
export const PTE_PCD: number = wordMask("PCD", "pte");
/** A, bit 5: a walk has used the entry (SDM vol. 3, 4.8 Accessed and Dirty Flags). */
export const PTE_A: number = wordMask("A", "pte");
/** D, bit 6 of a leaf: there was a write to the page. */
export const PTE_D: number = wordMask("D", "pte");
/** PS, bit 7 of a PDPTE or PDE: it maps a page. */
export const PTE_PS: number = wordMask("PS", "pde-2m");
/** PAT of a PTE, bit 7. */
export const PTE_PAT: number = wordMask("PAT", "pte");
/** PAT of a 2-MiB or 1-GiB leaf, bit 12. */
export const PTE_PAT_LARGE: number = wordMask("PAT", "pde-2m");
/** G, bit 8 of a leaf: the translation is global while CR4.PGE = 1. */
export const PTE_G: number = wordMask("G", "pte");
/** XD, bit 63, as a mask of the entry's high word. */
export const PTE_XD: number = wordMask("XD", "pte");
