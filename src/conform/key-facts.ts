import type { AccessKindName, Registers, Step } from "./case.ts";
import type { Fact } from "./fact.ts";
import { accessStep, type Switches } from "./fixture.ts";

/*
 * PKRU against what the supervisor does: it guards pages with U/S=1 in every entry, against both modes, at each use of
 * a cached translation, too, and no other pages (SDM vol. 3, "Protection Keys"). What is expected is the oracle's.
 */

type Rights = Pick<Registers, "pkru">;
interface Setting extends Pick<Fact, "pml4e" | "pdpte" | "pde" | "pte"> {
  readonly id: string;
  readonly what: string;
  readonly rights: Rights;
  readonly on?: Switches;
}

/** Rights of key 1. */
const AD1 = { pkru: 0x4n };
const WD1 = { pkru: 0x8n };
const KEY1 = 0x0800_0000_0000_0000n;
const PTE_KEY1 = KEY1 | 0x11_0007n;
const KINDS: readonly AccessKindName[] = ["read", "write", "rmw", "fetch", "implicit_read"];

/** Pages that the key guards. */
const GUARDED: readonly Setting[] = [
  { id: "ad", what: "AD, 4-KiB page", rights: AD1, pte: PTE_KEY1 },
  { id: "ad-2m", what: "AD, 2-MiB page", rights: AD1, pde: KEY1 | 0x20_0087n },
  { id: "ad-1g", what: "AD, 1-GiB page", rights: AD1, pdpte: KEY1 | 0x87n },
  { id: "ad-wp0", what: "AD, WP=0", rights: AD1, on: { wp: false }, pte: PTE_KEY1 },
  { id: "ad-smap", what: "AD and SMAP", rights: AD1, on: { smap: true }, pte: PTE_KEY1 },
  { id: "wd", what: "WD", rights: WD1, pte: PTE_KEY1 },
  { id: "wd-wp0", what: "WD, WP=0", rights: WD1, on: { wp: false }, pte: PTE_KEY1 },
];

/** Supervisor pages: one U/S=0 on the way. */
const UNGUARDED: readonly Setting[] = [
  { id: "us-pml4e", what: "U/S=0 in the PML4E", rights: AD1, pml4e: 0x10_0003n, pte: PTE_KEY1 },
  { id: "us-pdpte", what: "U/S=0 in the PDPTE", rights: AD1, pdpte: 0x10_1003n, pte: PTE_KEY1 },
  { id: "us-pde", what: "U/S=0 in the PDE", rights: AD1, pde: 0x10_2003n, pte: PTE_KEY1 },
  { id: "us-pte", what: "U/S=0 in the PTE", rights: AD1, pte: KEY1 | 0x11_0003n },
  { id: "us-2m", what: "U/S=0 in a 2-MiB leaf", rights: AD1, pde: KEY1 | 0x20_0083n },
];

function factsOf({ id, what, rights, on, ...entries }: Setting): Fact[] {
  return KINDS.flatMap((kind) => {
    const access = accessStep(kind, "sup");
    // Without a user page under SMAP the read before needs AC.
    const warm = accessStep("read", "sup", { ac: on?.smap === true });
    const load: Step = { op: "control", ...rights };
    const shared = { ...entries, on: { ...on, pke: true } };
    return [
      {
        ...shared,
        id: `110-${id}-${kind.replace("_", "-")}`,
        title: `PKRU and the supervisor's ${kind.replace("_", " ")}: ${what}`,
        registers: rights,
        run: [[access]],
      },
      {
        ...shared,
        id: `110-${id}-${kind.replace("_", "-")}-cached`,
        title: `PKRU and the supervisor's ${kind.replace("_", " ")}, translation cached: ${what}`,
        run: [[warm], [load], [access]],
      },
    ] satisfies Fact[];
  });
}

/** What a user's access to a supervisor page reports, whose key would deny it. */
function userFacts({ id, what, rights, on, ...entries }: Setting): Fact[] {
  return (["read", "write"] as const).map((kind) => ({
    ...entries,
    on: { ...on, pke: true },
    registers: rights,
    id: `110-${id}-user-${kind}`,
    title: `a user's ${kind}, no PK in the error code: ${what}`,
    run: [[accessStep(kind, "user")]],
  }));
}

/** Facts about PKRU and supervisor accesses. */
export const KEY_FACTS: readonly Fact[] = [
  ...[...GUARDED, ...UNGUARDED].flatMap(factsOf),
  ...UNGUARDED.flatMap(userFacts),
];
