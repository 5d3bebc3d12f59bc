import type { AccessKindName, Step } from "./case.ts";
import type { Fact } from "./fact.ts";
import { type AccessDetails, accessStep, PAGE_A, PDE, PTE, T } from "./fixture.ts";

const sup = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "sup", details);
const user = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "user", details);
const store = (pa: number, value: bigint): Step => ({ op: "write_entry", pa, value });
const movCr3 = (value: bigint): Step => ({ op: "mov_cr3", value });
const invlpg = (la: bigint): Step => ({ op: "invlpg", la });
const invpcid = (type: number, pcid: bigint, la = T): Step => ({ op: "invpcid", type, pcid, la });

const ACCESSED = 0x20n;
/** Bit 63 of MOV to CR3's operand: keep the PCID's translations. */
const KEEP = 1n << 63n;
/** The PTE of the page behind T's. */
const NEXT_PTE = PTE + 8;
/** Data at T, and at the end of page A, that a write which faults must not change. */
const DATA = [PAGE_A, 0x1122_3344_5566_7788n] as const;
const DATA_END = [PAGE_A + 0xff8, 0x1122_3344_5566_7788n] as const;
/** A second page table for T's 2 MiB. */
const OTHER_PT_NEXT = 0x10_3208;
/** The entry of the PML4 that points to the PML4, and its own linear address. */
const SELF = 0x7_0018;
const SELF_LA = (3n << 39n) | (3n << 30n) | (3n << 21n) | (3n << 12n) | 0x18n;

const PCID = { on: { pcide: true }, registers: { cr3: 0x7_0001n } } as const;
const PCID_START = [
  [sup("read"), "pa 0x110000"],
  [store(PTE, 0x11_1027n), "done"],
  [movCr3(KEEP | 0x7_0002n), "done"],
  [sup("read"), "pa 0x111000", "pcid"],
] as const;
const PCID_BACK = [
  [movCr3(KEEP | 0x7_0001n), "done"],
  [sup("read"), "pa 0x111000 or pa 0x110000", "cached-translation"],
] as const;

const GLOBAL_START = [
  [sup("read"), "pa 0x110000"],
  [store(PTE, 0x11_1127n), "done"],
  [movCr3(0x7_0000n), "done"],
  [sup("read"), "pa 0x111000 or pa 0x110000", "cached-translation"],
] as const;

/** What may be cached, what must not be, and what invalidates it. */
const TLB: readonly Fact[] = [
  {
    id: "62",
    title: "read, PTE cleared, read: stale or #PF",
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0n), "done"],
      [sup("read"), "#PF 0x00 or pa 0x110000", "cached-translation"],
    ],
  },
  {
    id: "63",
    title: "read, PTE cleared, write: must fault, and nothing is stored",
    words: [DATA],
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0n), "done"],
      [sup("write"), "#PF 0x02", "dirty-again"],
    ],
  },
  {
    id: "64",
    title: "write, PTE cleared, write: may land; the PTE stays 0",
    run: [
      [sup("write"), "pa 0x110000"],
      [store(PTE, 0n), "done"],
      [sup("write"), "#PF 0x02 or pa 0x110000", "cached-translation"],
    ],
  },
  {
    id: "65",
    title: "read, write-protected, write: must fault, D stays 0",
    words: [DATA],
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0x11_0025n), "done"],
      [sup("write"), "#PF 0x03", "dirty-again"],
    ],
  },
  {
    id: "66",
    title: "read, remapped, read: old or new; then write: new",
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0x11_1027n), "done"],
      [sup("read"), "pa 0x111000 or pa 0x110000", "cached-translation"],
      [sup("write"), "pa 0x111000", "dirty-again"],
    ],
  },
  {
    id: "67",
    title: "D cleared in memory comes back after INVLPG",
    run: [
      [sup("write"), "pa 0x110000"],
      [store(PTE, 0x11_0027n), "done"],
      [sup("write"), "pa 0x110000"],
      [invlpg(T), "done"],
      [sup("write"), "pa 0x110000"],
    ],
  },
  {
    id: "68",
    title: "R/W set in memory: at most one fault",
    cpu: { vendor: "intel" },
    pte: 0x11_0005n,
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0x11_0027n), "done"],
      [sup("write"), "pa 0x110000 or #PF 0x03", "cached-rights"],
      [sup("write"), "pa 0x110000", "cached-rights"],
    ],
  },
  {
    id: "69",
    title: "P set in memory needs no flush",
    pte: 0x11_0006n,
    run: [
      [sup("read"), "#PF 0x00"],
      [store(PTE, 0x11_0007n), "done"],
      [sup("read"), "pa 0x110000", "not-cached"],
    ],
  },
  {
    id: "70",
    title: "PDE repointed: old or new table until INVLPG, then new",
    words: [
      [NEXT_PTE, 0x11_2007n],
      [OTHER_PT_NEXT, 0x11_3007n],
    ],
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PDE, 0x10_3027n), "done"],
      [sup("read", { la: T + 0x1000n }), "pa 0x113000 or pa 0x112000", "cached-translation"],
      [invlpg(T + 0x1000n), "done"],
      [sup("read", { la: T + 0x1000n }), "pa 0x113000", "invlpg"],
    ],
    open: [[NEXT_PTE, ACCESSED]],
  },
  {
    id: "71",
    title: "a global translation may outlive MOV to CR3",
    on: { pge: true },
    pte: 0x11_0107n,
    run: GLOBAL_START,
  },
  {
    id: "72",
    title: "but not INVLPG",
    on: { pge: true },
    pte: 0x11_0107n,
    run: [...GLOBAL_START, [invlpg(T), "done"], [sup("read"), "pa 0x111000", "invlpg"]],
  },
  { id: "73", title: "a PCID does not see another one's translation", ...PCID, run: PCID_START },
  {
    id: "74",
    title: "back in the first PCID with bit 63: old or new",
    ...PCID,
    run: [...PCID_START, ...PCID_BACK],
  },
  {
    id: "75",
    title: "and without bit 63: new",
    ...PCID,
    run: [...PCID_START, ...PCID_BACK, [movCr3(0x7_0001n), "done"], [sup("read"), "pa 0x111000", "mov-cr3"]],
  },
];

/** Read-modify-write, page-crossing and non-canonical accesses, five levels, the self map. */
const ACCESSES: readonly Fact[] = [
  {
    id: "76",
    title: "a read-modify-write is a write: P=0",
    pte: 0x11_0006n,
    run: [[sup("rmw"), "#PF 0x02"]],
  },
  {
    id: "77",
    title: "a read-modify-write is a write: R/W=0",
    pte: 0x11_0005n,
    run: [[sup("rmw"), "#PF 0x03"]],
  },
  { id: "78", title: "also one that stores what it read sets D", run: [[sup("rmw"), "pa 0x110000"]] },
  {
    id: "79",
    title: "a read into an absent second page: CR2 is that page",
    words: [[NEXT_PTE, 0n]],
    run: [[sup("read", { la: T + 0xffcn }), "#PF 0x00 at 0x8000041000"]],
  },
  {
    id: "80",
    title: "a write into an absent second page stores nothing",
    words: [[NEXT_PTE, 0n], DATA_END],
    run: [[sup("write", { la: T + 0xffcn }), "#PF 0x02 at 0x8000041000"]],
  },
  {
    id: "81",
    title: "an absent first page: the second is not touched",
    pte: 0x11_0006n,
    words: [[NEXT_PTE, 0x11_2007n]],
    run: [[sup("write", { la: T + 0xffcn }), "#PF 0x02"]],
  },
  { id: "82", title: "non-canonical", run: [[sup("read", { la: 1n << 47n }), "#GP"]] },
  {
    id: "83",
    title: "non-canonical through SS",
    run: [[sup("write", { la: (1n << 47n) + 8n, stack: true }), "#SS"]],
  },
  {
    id: "84",
    title: "the last bytes are non-canonical, the first page is absent",
    run: [[user("read", { la: (1n << 47n) - 4n }), "#GP"]],
  },
  {
    id: "85",
    title: "with five levels bit 47 is an ordinary bit",
    on: { la57: true },
    registers: { cr3: 0x7_1000n },
    words: [[0x7_1000, 0x7_0007n]],
    run: [[sup("read", { la: 1n << 47n }), "#PF 0x00"]],
  },
  {
    id: "86",
    title: "U/S=0 in the PML5E",
    on: { la57: true },
    registers: { cr3: 0x7_1000n },
    words: [[0x7_1000, 0x7_0003n]],
    run: [[user("read"), "#PF 0x05"]],
  },
  {
    id: "87",
    title: "INVLPG of a non-canonical address does nothing",
    run: [
      [sup("read"), "pa 0x110000"],
      [invlpg(1n << 63n), "done"],
      [sup("read"), "pa 0x110000"],
    ],
  },
  {
    id: "88",
    title: "a self map: one entry is PML4E, PDPTE, PDE and PTE",
    words: [[SELF, 0x7_0003n]],
    run: [[sup("read", { la: SELF_LA }), "pa 0x70018"]],
  },
  {
    id: "89",
    title: "written through itself it gets D",
    words: [[SELF, 0x7_0003n]],
    run: [
      [sup("read", { la: SELF_LA }), "pa 0x70018"],
      [sup("rmw", { la: SELF_LA }), "pa 0x70018"],
    ],
  },
];

const CET = { cet: true };

/** Shadow stacks, and writes to control registers. */
const CONTROL: readonly Fact[] = [
  {
    id: "90",
    title: "WRUSS to a shadow-stack page",
    on: CET,
    pte: 0x11_0045n,
    run: [[sup("wruss"), "pa 0x110000"]],
  },
  { id: "91", title: "WRUSS, D=0", on: CET, pte: 0x11_0005n, run: [[sup("wruss"), "#PF 0x47"]] },
  { id: "92", title: "WRUSS, R/W=1", on: CET, pte: 0x11_0047n, run: [[sup("wruss"), "#PF 0x47"]] },
  { id: "93", title: "WRUSS, U/S=0", on: CET, pte: 0x11_0041n, run: [[sup("wruss"), "#PF 0x47"]] },
  {
    id: "94",
    title: "WRUSS, R/W=0 above the leaf",
    on: CET,
    pde: 0x10_2005n,
    pte: 0x11_0045n,
    run: [[sup("wruss"), "#PF 0x47"]],
  },
  { id: "95", title: "WRUSS, P=0", on: CET, pte: 0x11_0044n, run: [[sup("wruss"), "#PF 0x46"]] },
  {
    id: "96",
    title: "an ordinary write to a shadow-stack page",
    on: CET,
    pte: 0x11_0045n,
    run: [[user("write"), "#PF 0x07"]],
  },
  {
    id: "97",
    title: "CR4.PCIDE set while CR3[11:0] is not 0",
    registers: { cr3: 0x7_0001n },
    run: [[{ op: "control", cr4: 0x2_0020n }, "#GP"]],
  },
  {
    id: "98",
    title: "CR0.PG cleared while CR4.PCIDE=1",
    on: { pcide: true },
    run: [[{ op: "control", cr0: 0x1_0011n }, "#GP"]],
  },
  {
    id: "99",
    title: "INVPCID without PCIDE: only PCID 0",
    run: [
      [invpcid(0, 1n), "#GP"],
      [invpcid(1, 1n), "#GP"],
      [invpcid(0, 0n), "done"],
      [invpcid(1, 0n), "done"],
      [invpcid(2, 0n), "done"],
      [invpcid(3, 0n), "done"],
    ],
  },
  {
    id: "100",
    title: "INVPCID 0 of a non-canonical address",
    run: [[invpcid(0, 0n, 1n << 63n), "#GP"]],
  },
];

/** Facts about order and time: what is cached, what crosses pages, what control registers refuse. */
export const SEQUENCE_FACTS: readonly Fact[] = [...TLB, ...ACCESSES, ...CONTROL];
