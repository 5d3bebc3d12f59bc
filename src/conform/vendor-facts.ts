import type { AccessKindName, Step } from "./case.ts";
import type { Fact, FactStep } from "./fact.ts";
import { type AccessDetails, accessStep, PDE, PTE, T } from "./fixture.ts";

const sup = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "sup", details);
const user = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "user", details);
const store = (pa: number, value: bigint): Step => ({ op: "write_entry", pa, value });

const ACCESSED = 0x20n;
const NEXT = T + 0x1000n;
/** The PTE of the page behind T's, and the same place in a second page table. */
const NEXT_PTE = PTE + 8;
const OTHER_PT_NEXT = 0x10_3208;
/** CR4.PAE and CR4.PGE. */
const CR4 = 0xa0n;
const CR4_PSE = 1n << 4n;
const CR4_SMEP = 1n << 20n;
const CR4_PKE = 1n << 22n;

/** What an access may end in after an upgrade: the new rights, or with the old ones a fault, which does not repeat. */
interface Upgrade extends Pick<Fact, "pde" | "pte" | "words" | "open"> {
  readonly id: string;
  readonly title: string;
  readonly before: readonly Step[];
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
];

function upgradeFacts({ id, title, before, access, done, spurious, ...state }: Upgrade): Fact[] {
  const warm: FactStep[] = before.map((step) => [step, step.op === "access" ? "pa 0x110000" : "done"]);
  const intel: Fact = {
    ...state,
    id,
    title: `${title}: at most one fault`,
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

/** Facts in which the vendors differ: rights raised behind a cached entry, and what writes of CR4 drop. */
export const VENDOR_FACTS: readonly Fact[] = [
  ...UPGRADES.flatMap(upgradeFacts),
  controlFact("pse", CR4_PSE, "intel", false),
  controlFact("pse", CR4_PSE, "amd", true),
  controlFact("pke", CR4_PKE, "intel", false),
  controlFact("pke", CR4_PKE, "amd", true),
  controlFact("smep", CR4_SMEP, "intel", true),
  controlFact("smep", CR4_SMEP, "amd", false),
];
