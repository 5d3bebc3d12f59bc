import { type AccessStep, VECTOR_PF } from "./case.ts";
import type { CaseWalk } from "./case-walk.ts";
import { denialOf, denying, ignoredFields, levelName, RIGHT_BITS, type RightBit } from "./explain-entry.ts";
import { faultOf, isWrite } from "./oracle-walk.ts";
import type { RuleName } from "./rules.ts";

/** A reason for a group of cases, and for one of them. */
export interface Reason {
  /** Without addresses: cases with the same one have one cause. */
  readonly kind: string;
  /** With the entries of the case. */
  readonly detail: string;
}

const SAME = (text: string): Reason => ({ kind: text, detail: text });

/** Who makes an access, and what it is: "user write", "supervisor read with AC=1". */
export function accessWords(access: AccessStep): string {
  const withAc = !isUserAccess(access) && access.ac;
  return `${accessKind(access)}${withAc ? " with AC=1" : ""}`;
}

/** The same whatever AC is. */
export function accessKind({ kind, cpl }: AccessStep): string {
  const who = kind === "wruss" ? "user" : cpl === 3 && kind !== "implicit_read" ? "user" : "supervisor";
  const what = {
    read: "read",
    write: "write",
    rmw: "read-modify-write",
    fetch: "fetch",
    implicit_read: "implicit read",
    wruss: "shadow-stack store",
  }[kind];
  return `${who} ${what}`;
}

/** Whether the access is one of user mode. */
export function isUserAccess({ kind, cpl }: AccessStep): boolean {
  return kind === "wruss" || (cpl === 3 && kind !== "implicit_read");
}

const RIGHT_OF_RULE: Readonly<Partial<Record<RuleName, RightBit>>> = {
  "user-page": "U/S",
  "user-write": "R/W",
  "supervisor-write": "R/W",
  xd: "XD",
};

/** The right that denies the access of a walk that came to a page. */
export function deniedBy(walk: CaseWalk): Reason {
  const { access, registers, end, path } = walk;
  const rule = faultOf(end, access, registers)?.rule ?? "translate";
  const bit = RIGHT_OF_RULE[rule];
  if (bit !== undefined) {
    const { kind, places } = denialOf(path, bit);
    const wp = rule === "supervisor-write" ? " while WP=1" : "";
    return { kind: `${kind}${wp}`, detail: `${places}${wp}` };
  }
  switch (rule) {
    case "smep":
      return SAME("SMEP=1 and a user page");
    case "smap":
      return SAME("SMAP=1 and a user page while AC=0");
    case "smap-implicit":
      return SAME("SMAP=1 and a user page: AC does not count for the CPU's own accesses");
    case "pkru":
    case "pkrs":
      return keyDenial(walk, rule);
    case "shadow-stack":
      return SAME("no shadow-stack page of user mode: R/W=1 above the leaf, R/W=0 and D=1 in it, U/S=1");
    default:
      return SAME("a right");
  }
}

function keyRights({ registers, end }: CaseWalk): { readonly ad: boolean; readonly wd: boolean } {
  const rights = ((end.u ? registers.pkru : registers.pkrs) >> (2n * end.key)) & 3n;
  return { ad: (rights & 1n) !== 0n, wd: (rights & 2n) !== 0n };
}

function keyDenial(walk: CaseWalk, rule: "pkru" | "pkrs"): Reason {
  const register = rule === "pkru" ? "PKRU" : "IA32_PKRS";
  const which = keyRights(walk).ad ? "AD" : "WD";
  const page = rule === "pkru" ? "a user page" : "a supervisor page";
  return {
    kind: `${register}.${which} of ${page}'s key`,
    detail: `${register}.${which}=1 for key ${walk.end.key} of ${page}`,
  };
}

/** Why no protection key denies the access. */
export function noKeyDenies(walk: CaseWalk): Reason {
  const { access, end, on } = walk;
  if (end.end !== "page") return SAME("the walk came to no page, so there is no key");
  if (access.kind === "fetch") return SAME("keys do not apply to fetches");
  const leaf = walk.path.at(-1)!;
  if (!end.u && !on.has("pks")) {
    const inLeaf = RIGHT_BITS["U/S"].test(leaf) ? "in the leaf" : "above the leaf";
    return SAME(`U/S=0 ${inLeaf}: PKRU does not apply to a supervisor page`);
  }
  if (end.u && !on.has("pke")) return SAME("PKE=0");
  const { ad, wd } = keyRights(walk);
  if (!ad && wd && isWrite(access)) return SAME("WD does not stop the supervisor while WP=0");
  return { kind: "the key's rights allow it", detail: `the rights of key ${end.key} allow it` };
}

/** What a page fault claims of an access that is allowed, and why it is not so. */
export function refutedClaim(walk: CaseWalk, error: number | undefined): Reason {
  if (error === undefined) return SAME(`claims #PF (vector ${VECTOR_PF}): nothing denies the access`);
  if ((error & 0x08) !== 0) return refutedReserved(walk);
  if ((error & 0x01) === 0) return SAME("claims P=0: every entry of the walk is present");
  if ((error & 0x20) !== 0) return claim("a protection key", noKeyDenies(walk));
  const [first, ...more] = claims(walk);
  const chosen = [first, ...more].find((one) => one?.near) ?? first!;
  return claim(chosen.right, SAME(chosen.why));
}

function claim(right: string, { kind, detail }: Reason): Reason {
  return { kind: `claims ${right}: ${kind}`, detail: `claims ${right}: ${detail}` };
}

function refutedReserved(walk: CaseWalk): Reason {
  const ignored = ignoredFields(walk);
  const [only, another] = ignored;
  if (only === undefined) return SAME("claims a reserved bit: none that is set is reserved");
  const kind = another === undefined ? `${only.kind} is ignored` : "what is set is ignored";
  return {
    kind: `claims a reserved bit: ${kind}`,
    detail: `claims a reserved bit: ${ignored.map(({ place, why }) => `${place}: ${why}`).join(", ")}`,
  };
}

interface Claim {
  readonly right: string;
  readonly why: string;
  /** The page would be denied if a switch or AC were different: likely what the program got wrong. */
  readonly near: boolean;
}

/** The rights that can deny this kind of access, each with why it does not. */
function claims({ access, end, path, on }: CaseWalk): Claim[] {
  const allows = (bit: RightBit): Claim => ({
    right: RIGHT_BITS[bit].denies,
    why: `${RIGHT_BITS[bit].allows} in every entry`,
    near: false,
  });
  const user = isUserAccess(access);
  const write = isWrite(access);
  const found: Claim[] = [];
  if (access.kind === "wruss") {
    return [
      { right: "no shadow-stack page", why: "the leaf has R/W=0 and D=1, all above R/W=1", near: true },
    ];
  }
  if (access.kind === "fetch") {
    found.push(allows("XD"));
    if (!user) {
      const why = end.u ? "SMEP=0" : `U/S=0 in the ${levels(denying(path, "U/S"))}: no user page`;
      found.push({ right: "SMEP", why, near: end.u });
    }
  } else if (!user) {
    const lifted = on.has("smap") && access.ac && access.kind !== "implicit_read";
    const noUserPage = `U/S=0 in the ${levels(denying(path, "U/S"))}: no user page`;
    const why = lifted ? "RFLAGS.AC=1 lifts it" : end.u ? "SMAP=0" : noUserPage;
    found.push({ right: "SMAP", why, near: end.u });
  }
  if (user) found.push(allows("U/S"));
  if (write) {
    const readOnly = !end.w;
    found.unshift(
      readOnly
        ? { right: "R/W=0", why: "it does not stop the supervisor while WP=0", near: true }
        : allows("R/W"),
    );
  }
  return found;
}

function levels(path: readonly Parameters<typeof levelName>[0][]): string {
  return path.map(levelName).join(", ");
}
