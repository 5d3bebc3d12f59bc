import { type AccessKindName, type AccessStep, RMW_FORMS, type RmwForm } from "./case.ts";
import type { Fact } from "./fact.ts";
import { accessStep, PAGE_A, PTE, T } from "./fixture.ts";

/*
 * Read-modify-writes by the instruction that makes them, and accesses that cross pages. What is expected is the
 * oracle's: a read-modify-write reports W=1 and needs what a write needs, also where it stores what it read (SDM vol. 3,
 * "Page-Fault Exceptions", "Automatic Locking"; vol. 2, CMPXCHG, XADD, BTS).
 */

type Entries = Pick<Fact, "pde" | "pte" | "on" | "registers" | "words">;
type Who = "sup" | "user";

const KEY1 = 0x0800_0000_0011_0007n;
/** Key 1: write disabled, access disabled. */
const WD1 = { pkru: 0x8n };
const AD1 = { pkru: 0x4n };
/** Data that an access which faults must not change. */
const DATA = [PAGE_A, 0x1122_3344_5566_7788n] as const;
const DATA_END = [PAGE_A + 0xff8, 0x1122_3344_5566_7788n] as const;

const SITUATIONS: readonly ({ readonly id: string; readonly what: string; readonly who: Who } & Entries)[] = [
  { id: "done", what: "sets D", who: "user" },
  { id: "clean", what: "sets D where A=1", who: "sup", pte: 0x11_0027n },
  { id: "wp", what: "R/W=0 and WP=0", who: "sup", on: { wp: false }, pte: 0x11_0005n },
  { id: "absent", what: "P=0", who: "user", pte: 0x11_0006n },
  { id: "read-only", what: "R/W=0", who: "user", pte: 0x11_0005n },
  { id: "read-only-pde", what: "R/W=0 in the PDE, WP=1", who: "sup", pde: 0x10_2005n },
  { id: "supervisor", what: "U/S=0", who: "user", pte: 0x11_0003n },
  { id: "reserved", what: "bit 51", who: "user", pte: 0x0008_0000_0011_0007n },
  { id: "key", what: "a key that denies writes", who: "user", on: { pke: true }, registers: WD1, pte: KEY1 },
];

const BY_FORM: readonly Fact[] = SITUATIONS.flatMap(({ id, what, who, ...entries }) =>
  RMW_FORMS.map(
    (by): Fact => ({
      ...entries,
      id: `108-${id}-${by}`,
      title: `${nameOf(by)}: ${what}`,
      ...(["done", "clean", "wp"].includes(id) ? {} : { words: [DATA] }),
      run: [[accessStep("rmw", who, { by })]],
    }),
  ),
);

/** As the manual writes an instruction. */
function nameOf(by: RmwForm): string {
  return by.toUpperCase().replace("-", " ");
}

const CROSSING: readonly { readonly id: string; readonly kind: AccessKindName; readonly by?: RmwForm }[] = [
  { id: "read", kind: "read" },
  { id: "write", kind: "write" },
  { id: "rmw", kind: "rmw" },
  { id: "cmpxchg", kind: "rmw", by: "cmpxchg" },
  { id: "lock-cmpxchg", kind: "rmw", by: "lock-cmpxchg" },
  { id: "xadd", kind: "rmw", by: "xadd" },
];

/** The second page's entry, or what is wrong with the first, too. */
const PAIRS: readonly ({
  readonly id: string;
  readonly what: string;
  readonly who: Who;
  readonly second: bigint;
} & Entries)[] = [
  { id: "done", what: "both pages allow it", who: "user", second: 0x11_2007n },
  { id: "absent", what: "P=0 in the second page's PTE", who: "user", second: 0x11_2006n },
  { id: "read-only", what: "R/W=0 in the second page's PTE", who: "sup", second: 0x11_2005n },
  { id: "supervisor", what: "U/S=0 in the second page's PTE", who: "user", second: 0x11_2003n },
  { id: "reserved", what: "bit 51 in the second page's PTE", who: "sup", second: 0x0008_0000_0011_2007n },
  {
    id: "key",
    what: "a key that denies the second page",
    who: "user",
    second: 0x0800_0000_0011_2007n,
    on: { pke: true },
    registers: AD1,
  },
  {
    id: "both",
    what: "R/W=0 in the first, P=0 in the second page's PTE",
    who: "user",
    second: 0n,
    pte: 0x11_0005n,
  },
];

/** Half of it in T's page, half in the next. */
function crossing(kind: AccessKindName, who: Who, by: RmwForm | undefined): AccessStep {
  const details = { la: T + 0xffcn };
  return accessStep(kind, who, by === undefined ? details : { ...details, by });
}

const TWO_PAGES: readonly Fact[] = PAIRS.flatMap(({ id, what, who, second, ...entries }) =>
  CROSSING.map(
    ({ id: name, kind, by }): Fact => ({
      ...entries,
      id: `109-${id}-${name}`,
      title: `${by === undefined ? kind : nameOf(by)} across pages: ${what}`,
      words: [[PTE + 8, second], ...(id === "done" ? [] : [DATA_END])],
      run: [[crossing(kind, who, by)]],
    }),
  ),
);

/** Facts about read-modify-writes, and about accesses that cross pages. */
export const RMW_FACTS: readonly Fact[] = [...BY_FORM, ...TWO_PAGES];
