import {
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_P,
  PTE_PCD,
  PTE_PWT,
  PTE_U,
  PTE_W,
  PTE_XD,
} from "../../arch/x86/cpu/entry-layout.ts";
import { type LeafView, pageName } from "./leaves.ts";

/** Whether a listing shows a leaf. */
export type PageFilter = (leaf: LeafView) => boolean;

const KEY_HI = 0xf << 27;

/** A page that is there, and of which not every access is a reserved-bit fault. */
function isMapped({ reserved, lo }: LeafView): boolean {
  return !reserved && (lo & PTE_P) !== 0;
}

interface PageTest {
  readonly meaning: string;
  readonly test: PageFilter;
  /** The test asks for a right or a bit, which only a page that is mapped has, and has not. */
  readonly mapped: boolean;
}

const mapped = (meaning: string, test: PageFilter): PageTest => ({ meaning, test, mapped: true });
const any = (meaning: string, test: PageFilter): PageTest => ({ meaning, test, mapped: false });
const ofSize = (meaning: string, name: string): PageTest =>
  any(meaning, (leaf) => pageName(leaf.level).toLowerCase() === name);

/** What a listing can be filtered by. Rights are those of the whole path, the rest is the leaf's. */
export const PAGE_TESTS: Readonly<Record<string, PageTest>> = {
  w: mapped("writable", (leaf) => (leaf.every & PTE_W) !== 0),
  x: mapped("executable", (leaf) => (leaf.any & PTE_XD) === 0),
  u: mapped("user", (leaf) => (leaf.every & PTE_U) !== 0),
  s: mapped("supervisor", (leaf) => (leaf.every & PTE_U) === 0),
  ro: mapped("read-only", (leaf) => (leaf.every & PTE_W) === 0),
  a: mapped("accessed", ({ lo }) => (lo & PTE_A) !== 0),
  d: mapped("dirty", ({ lo }) => (lo & PTE_D) !== 0),
  g: mapped("global", ({ lo }) => (lo & PTE_G) !== 0),
  uc: mapped("PCD=1", ({ lo }) => (lo & PTE_PCD) !== 0),
  wb: mapped("PWT=0", ({ lo }) => (lo & PTE_PWT) === 0),
  key: mapped("protection key not 0", ({ hi }) => (hi & KEY_HI) !== 0),
  c: mapped("bit of --cbit or --shared-bit set", ({ marked }) => marked),
  "4k": ofSize("4-KiB page", "4k"),
  "2m": ofSize("2-MiB page", "2m"),
  "1g": ofSize("1-GiB page", "1g"),
  fault: any("reserved bit set", (leaf) => leaf.reserved),
  np: any("not present: swapped out, PROT_NONE and others", (leaf) => (leaf.lo & PTE_P) === 0),
};

/** The names for a message: w, x, ... */
export const PAGE_TEST_NAMES = Object.keys(PAGE_TESTS).join(", ");

/**
 * A filter from text: names with commas between them, all of which must hold; `w|x` is either, `!w` (or `_w`, which
 * no shell takes for itself) is not. What is not mapped is neither w nor !w. Throws RangeError that lists the names.
 */
export function parseFilter(text: string): PageFilter {
  const all = text.split(",").map((term) => {
    const any = term.split("|").map((name) => parseTest(name.trim()));
    return any.length === 1 ? any[0]! : (leaf: LeafView) => any.some((test) => test(leaf));
  });
  return (leaf) => all.every((test) => test(leaf));
}

function parseTest(text: string): PageFilter {
  const negated = text.startsWith("!") || text.startsWith("_");
  const name = (negated ? text.slice(1) : text).toLowerCase();
  const found = Object.hasOwn(PAGE_TESTS, name) ? PAGE_TESTS[name] : undefined;
  if (found === undefined) {
    throw new RangeError(
      `filter ${JSON.stringify(text.slice(0, 40))}: there are ${PAGE_TEST_NAMES}; ! or _ before one is not, | is or`,
    );
  }
  const { test } = found;
  if (!found.mapped) return negated ? (leaf) => !test(leaf) : test;
  return (leaf) => isMapped(leaf) && test(leaf) !== negated;
}
