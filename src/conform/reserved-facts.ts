import type { AccessStep, Step } from "./case.ts";
import type { Fact, FactStep } from "./fact.ts";
import { accessStep, PML4E, type Switches, T } from "./fixture.ts";

/*
 * Reserved bits met by each kind of access, and PS=1 in an entry of the top levels with whole tables behind it. What is
 * expected is the oracle's (SDM vol. 3, "4-Level Paging", "Page-Fault Exceptions").
 */

/** Where the reserved bit is. */
const PLACES: readonly ({ readonly id: string; readonly what: string } & Pick<
  Fact,
  "pml4e" | "pdpte" | "pde" | "pte" | "on"
>)[] = [
  { id: "pml4e", what: "PS in the PML4E", pml4e: 0x10_0087n },
  { id: "pdpte", what: "the first bit above MAXPHYADDR in the PDPTE", pdpte: 0x0100_0010_1007n },
  { id: "1g", what: "bit 13 of a 1-GiB leaf", pdpte: 0x2087n },
  { id: "pde", what: "the first bit above MAXPHYADDR in the PDE", pde: 0x0100_0010_2007n },
  { id: "2m", what: "bit 13 of a 2-MiB leaf", pde: 0x20_2087n },
  { id: "pte", what: "bit 51 of the PTE", pte: 0x0008_0000_0011_0007n },
  { id: "xd", what: "bit 63 of the PTE while NXE=0", on: { nxe: false }, pte: (1n << 63n) | 0x11_0007n },
];

const KINDS: readonly { readonly id: string; readonly access: AccessStep; readonly on?: Switches }[] = [
  { id: "sup-read", access: accessStep("read", "sup") },
  { id: "sup-write", access: accessStep("write", "sup") },
  { id: "sup-rmw", access: accessStep("rmw", "sup") },
  { id: "sup-fetch", access: accessStep("fetch", "sup") },
  { id: "user-read", access: accessStep("read", "user") },
  { id: "user-write", access: accessStep("write", "user") },
  { id: "user-rmw", access: accessStep("rmw", "user") },
  { id: "user-fetch", access: accessStep("fetch", "user") },
  { id: "implicit", access: accessStep("implicit_read", "user") },
  { id: "wruss", access: accessStep("wruss", "sup"), on: { cet: true } },
];

const BY_KIND: readonly Fact[] = PLACES.flatMap(({ id, what, on, ...entries }) =>
  KINDS.map(
    (kind): Fact => ({
      ...entries,
      id: `106-${id}-${kind.id}`,
      title: `${what} is reserved: ${kind.id.replace("-", " ")}`,
      on: { ...on, ...kind.on },
      run: [[kind.access]],
    }),
  ),
);

const read: Step = accessStep("read", "sup");
const next: Step = accessStep("read", "sup", { la: T + 0x20_0000n });
const store = (value: bigint): Step => ({ op: "write_entry", pa: PML4E, value });
const invlpg: Step = { op: "invlpg", la: T };
/** The PDE behind T's, a 2-MiB page. */
const NEXT_PDE = [0x10_1008, 0x20_0087n] as const;
const PML5 = { on: { la57: true }, registers: { cr3: 0x7_1000n } } as const;
const WARM: readonly FactStep[] = [
  [read, "pa 0x110000"],
  [store(0x10_00a7n), "done"],
];

const PAGE_SIZE: readonly Fact[] = [
  {
    id: "107-absent",
    title: "PS in a PML4E with P=0: nothing is reserved",
    pml4e: 0x10_0086n,
    run: [[read, "#PF 0x00"]],
  },
  {
    id: "107-denied",
    title: "PS in a PML4E with U/S=0 and R/W=0: reserved, rights are not judged",
    pml4e: 0x10_0081n,
    run: [[accessStep("write", "user"), "#PF 0x0f"]],
  },
  {
    id: "107-pml5e",
    title: "PS in a PML5E is reserved, with a whole walk behind it",
    ...PML5,
    words: [[0x7_1000, 0x7_0087n]],
    run: [[read, "#PF 0x09"]],
  },
  {
    id: "107-la57",
    title: "PS in a PML4E is reserved with five levels, too",
    ...PML5,
    pml4e: 0x10_0087n,
    words: [[0x7_1000, 0x7_0007n]],
    run: [[read, "#PF 0x09"]],
  },
  {
    id: "107-both",
    title: "PS in the PML4E, P=0 behind it: the reserved bit is met first",
    pml4e: 0x10_0087n,
    pdpte: 0x10_1006n,
    run: [[read, "#PF 0x09"]],
  },
  {
    id: "107-stale",
    title: "PS set in a PML4E in use: the old translation or #PF",
    run: [...WARM, [read, "#PF 0x09 or pa 0x110000", "cached-translation"]],
  },
  {
    id: "107-stale-upper",
    title: "PS set in a PML4E in use: another page of it",
    words: [NEXT_PDE],
    run: [...WARM, [next, "#PF 0x09 or pa 0x240000", "cached-translation"]],
    open: [[NEXT_PDE[0], 0x20n]],
  },
  {
    id: "107-invlpg",
    title: "PS set in a PML4E in use: #PF after INVLPG",
    run: [...WARM, [invlpg, "done"], [read, "#PF 0x09"]],
  },
];

/** PS in a PDPTE on a CPU that has no 1-GiB pages. */
const NO_GIGABYTES: readonly Fact[] = [
  { id: "read", access: read, fault: "#PF 0x09" },
  { id: "write", access: accessStep("write", "user"), fault: "#PF 0x0f" },
  { id: "fetch", access: accessStep("fetch", "user"), fault: "#PF 0x1d" },
].map(({ id, access, fault }) => ({
  id: `112-${id}`,
  title: `PS in a PDPTE is reserved without 1-GiB pages: ${id}`,
  cpu: { page1gb: false },
  pdpte: 0x87n,
  run: [[access, fault]],
}));

/** Facts about reserved bits. */
export const RESERVED_FACTS: readonly Fact[] = [...BY_KIND, ...PAGE_SIZE, ...NO_GIGABYTES];
