import type { AccessKindName, Step } from "./case.ts";
import type { Fact, FactStep } from "./fact.ts";
import { type AccessDetails, accessStep, PDE, PDPTE, PML4E, PTE, T } from "./fixture.ts";

const sup = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "sup", details);
const user = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "user", details);
const store = (pa: number, value: bigint): Step => ({ op: "write_entry", pa, value });

const ACCESSED = 0x20n;
const NEXT = T + 0x1000n;
/** The PTE of the page behind T's, and the same place in a second page table. */
const NEXT_PTE = PTE + 8;
const OTHER_PT_NEXT = 0x10_3208;
/** The first entry of a second page directory. */
const OTHER_PD = 0x10_4000;
const XD = 1n << 63n;
const RESERVED = 1n << 51n;
/** CR4.PAE and CR4.PGE. */
const CR4 = 0xa0n;
const CR4_PSE = 1n << 4n;
const CR4_SMEP = 1n << 20n;
const CR4_PKE = 1n << 22n;

/** What an access may end in after an upgrade: the new rights, or with the old ones a fault, which does not repeat. */
interface Upgrade extends Omit<Fact, "cpu" | "run"> {
  readonly before: readonly Step[];
  /** Where the accesses before lead. */
  readonly from?: string;
  readonly access: Step;
  readonly done: string;
  /** The fault that an Intel CPU may raise once. */
  readonly spurious: string;
}

const UPGRADES: readonly Upgrade[] = [
  {
    id: "68",
    title: "R/W set in memory",
    pte: 0x11_0005n,
    before: [sup("read"), store(PTE, 0x11_0027n)],
    access: sup("write"),
    done: "pa 0x110000",
    spurious: "#PF 0x03",
  },
  {
    id: "68-dirty",
    title: "R/W set in memory, D=1 before",
    pte: 0x11_0045n,
    before: [sup("read"), store(PTE, 0x11_0067n)],
    access: sup("write"),
    done: "pa 0x110000",
    spurious: "#PF 0x03",
  },
  {
    id: "68-us",
    title: "U/S set in memory",
    pte: 0x11_0003n,
    before: [sup("read"), store(PTE, 0x11_0027n)],
    access: user("read"),
    done: "pa 0x110000",
    spurious: "#PF 0x05",
  },
  {
    id: "68-xd",
    title: "XD cleared in memory",
    pte: 0x8000_0000_0011_0007n,
    before: [user("read"), store(PTE, 0x11_0027n)],
    access: user("fetch"),
    done: "pa 0x110000",
    spurious: "#PF 0x15",
  },
  {
    id: "70-upgrade",
    title: "R/W set in the PDE",
    pde: 0x10_2005n,
    words: [[NEXT_PTE, 0x11_2007n]],
    before: [sup("read"), store(PDE, 0x10_2027n)],
    access: sup("write", { la: NEXT }),
    done: "pa 0x112000",
    spurious: "#PF 0x03",
  },
  {
    id: "70-present",
    title: "PDE repointed to a table that has the page",
    words: [
      [NEXT_PTE, 0n],
      [OTHER_PT_NEXT, 0x11_3007n],
    ],
    before: [sup("read"), store(PDE, 0x10_3027n)],
    access: sup("read", { la: NEXT }),
    done: "pa 0x113000",
    spurious: "#PF 0x00",
    open: [[NEXT_PTE, ACCESSED]],
  },
  ...[
    { id: "pdpte", entry: PDPTE, pdpte: 0x10_1005n, after: 0x10_1027n },
    { id: "pml4e", entry: PML4E, pml4e: 0x10_0005n, after: 0x10_0027n },
  ].map(
    ({ id, entry, after, ...entries }): Upgrade => ({
      ...entries,
      id: `111-${id}`,
      title: `R/W set in the ${id.toUpperCase()}`,
      words: [[NEXT_PTE, 0x11_2007n]],
      before: [sup("read"), store(entry, after)],
      access: sup("write", { la: NEXT }),
      done: "pa 0x112000",
      spurious: "#PF 0x03",
    }),
  ),
  {
    id: "111-us-pde",
    title: "U/S set in the PDE",
    pde: 0x10_2003n,
    words: [[NEXT_PTE, 0x11_2007n]],
    before: [sup("read"), store(PDE, 0x10_2027n)],
    access: user("read", { la: NEXT }),
    done: "pa 0x112000",
    spurious: "#PF 0x05",
  },
  {
    id: "111-xd-pde",
    title: "XD cleared in the PDE",
    pde: XD | 0x10_2007n,
    words: [[NEXT_PTE, 0x11_2007n]],
    before: [user("read"), store(PDE, 0x10_2027n)],
    access: user("fetch", { la: NEXT }),
    done: "pa 0x112000",
    spurious: "#PF 0x15",
  },
  {
    id: "111-2m",
    title: "R/W set in a 2-MiB leaf",
    pde: 0x20_0085n,
    before: [user("read"), store(PDE, 0x20_00a7n)],
    from: "pa 0x240000",
    access: user("write"),
    done: "pa 0x240000",
    spurious: "#PF 0x07",
  },
  {
    id: "111-1g",
    title: "U/S set in a 1-GiB leaf",
    pdpte: 0x83n,
    before: [sup("read"), store(PDPTE, 0xa7n)],
    from: "pa 0x40000",
    access: user("read"),
    done: "pa 0x40000",
    spurious: "#PF 0x05",
  },
  {
    id: "111-key",
    title: "the key in memory changed to one that allows it",
    on: { pke: true },
    registers: { pkru: 0x4n },
    pte: 0x0800_0000_0011_0007n,
    before: [user("fetch"), store(PTE, 0x11_0027n)],
    access: user("read"),
    done: "pa 0x110000",
    spurious: "#PF 0x25",
  },
  {
    id: "111-remap",
    title: "another page and R/W set in memory",
    pte: 0x11_0005n,
    before: [user("read"), store(PTE, 0x11_1027n)],
    access: user("write"),
    done: "pa 0x111000",
    spurious: "#PF 0x07",
  },
  {
    id: "111-present",
    title: "PDPTE repointed to a directory that has the page",
    words: [
      [NEXT_PTE, 0n],
      [OTHER_PD, 0x10_3007n],
      [OTHER_PT_NEXT, 0x11_3007n],
    ],
    before: [sup("read"), store(PDPTE, 0x10_4027n)],
    access: sup("read", { la: NEXT }),
    done: "pa 0x113000",
    spurious: "#PF 0x00",
  },
];

/** Rights taken away behind a cached entry: the old or the new, on either vendor; after INVLPG the new. */
const DOWNGRADES: readonly Fact[] = [
  { id: "write", title: "R/W cleared", warm: user("write"), after: 0x11_0065n, fault: "#PF 0x07" },
  { id: "us", title: "U/S cleared", warm: user("read"), after: 0x11_0023n, fault: "#PF 0x05" },
  { id: "xd", title: "XD set", warm: user("fetch"), after: XD | 0x11_0027n, fault: "#PF 0x15" },
  {
    id: "reserved",
    title: "bit 51 set",
    warm: user("read"),
    after: RESERVED | 0x11_0027n,
    fault: "#PF 0x0d",
  },
].flatMap(({ id, title, warm, after, fault }) =>
  (["intel", "amd"] as const).map((vendor) => ({
    id: vendor === "amd" ? `111-lost-${id}-amd` : `111-lost-${id}`,
    title: `${title} in memory: the old right or the new until INVLPG, then the new`,
    cpu: { vendor },
    run: [
      [warm, "pa 0x110000"],
      [store(PTE, after), "done"],
      [warm, `pa 0x110000 or ${fault}`, "cached-translation"],
      [{ op: "invlpg", la: T }, "done"],
      [warm, fault],
    ],
  })),
);

function upgradeFacts({ id, title, before, from, access, done, spurious, ...state }: Upgrade): Fact[] {
  const start = from ?? "pa 0x110000";
  const warm: FactStep[] = before.map((step) => [step, step.op === "access" ? start : "done"]);
  const intel: Fact = {
    ...state,
    id,
    title: `${title}: at most one fault`,
    cpu: { vendor: "intel" },
    run: [...warm, [access, `${done} or ${spurious}`, "cached-rights"], [access, done, "cached-rights"]],
  };
  const amd: Fact = {
    ...state,
    id: `${id}-amd`,
    title: `${title}: no fault`,
    cpu: { vendor: "amd" },
    run: [...warm, [access, done, "confirmed"]],
  };
  // Fact 68 itself stands among the sequences.
  return id === "68" ? [amd] : [intel, amd];
}

/** A write of CR4 over a global translation that is older than its entry. */
function controlFact(name: string, bit: bigint, vendor: "intel" | "amd", drops: boolean): Fact {
  return {
    id: vendor === "amd" ? `71-${name}-amd` : `71-${name}`,
    title: `CR4.${name.toUpperCase()} set: ${drops ? "drops" : "may leave"} a global translation`,
    cpu: { vendor },
    on: { pge: true },
    pte: 0x11_0107n,
    run: [
      [sup("read"), "pa 0x110000"],
      [store(PTE, 0x11_1127n), "done"],
      [{ op: "control", cr4: CR4 | bit }, "done"],
      drops
        ? [sup("read"), "pa 0x111000", "control-flush"]
        : [sup("read"), "pa 0x111000 or pa 0x110000", "cached-translation"],
    ],
  };
}

/** Facts in which the vendors differ: rights changed behind a cached entry, and what writes of CR4 drop. */
export const VENDOR_FACTS: readonly Fact[] = [
  ...UPGRADES.flatMap(upgradeFacts),
  controlFact("pse", CR4_PSE, "intel", false),
  controlFact("pse", CR4_PSE, "amd", true),
  controlFact("pke", CR4_PKE, "intel", false),
  controlFact("pke", CR4_PKE, "amd", true),
  controlFact("smep", CR4_SMEP, "intel", true),
  controlFact("smep", CR4_SMEP, "amd", false),
  ...DOWNGRADES,
];
