import {
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_PCD,
  PTE_PWT,
  PTE_U,
  PTE_W,
  PTE_XD,
} from "../../arch/x86/cpu/entry-layout.ts";
import type { PageFilter } from "./leaf-ranges.ts";
import { type LeafCursor, pageName } from "./leaves.ts";

const KEY_HI = 0xf << 27;

/** A page of which no access is a reserved-bit fault. */
const mapped =
  (test: PageFilter): PageFilter =>
  (leaf) =>
    !leaf.reserved && test(leaf);
const ofSize =
  (name: string): PageFilter =>
  (leaf) =>
    pageName(leaf.level).toLowerCase() === name;

/** What a listing can be filtered by. Rights are those of the whole path, the rest is the leaf's. */
export const PAGE_TESTS: Readonly<Record<string, { readonly meaning: string; readonly test: PageFilter }>> = {
  w: { meaning: "writable", test: mapped((leaf) => (leaf.every & PTE_W) !== 0) },
  x: { meaning: "executable", test: mapped((leaf) => (leaf.any & PTE_XD) === 0) },
  u: { meaning: "user", test: mapped((leaf) => (leaf.every & PTE_U) !== 0) },
  s: { meaning: "supervisor", test: mapped((leaf) => (leaf.every & PTE_U) === 0) },
  ro: { meaning: "read-only", test: mapped((leaf) => (leaf.every & PTE_W) === 0) },
  a: { meaning: "accessed", test: mapped(({ lo }) => (lo & PTE_A) !== 0) },
  d: { meaning: "dirty", test: mapped(({ lo }) => (lo & PTE_D) !== 0) },
  g: { meaning: "global", test: mapped(({ lo }) => (lo & PTE_G) !== 0) },
  uc: { meaning: "PCD=1", test: mapped(({ lo }) => (lo & PTE_PCD) !== 0) },
  wb: { meaning: "PWT=0", test: mapped(({ lo }) => (lo & PTE_PWT) === 0) },
  key: { meaning: "protection key not 0", test: mapped(({ hi }) => (hi & KEY_HI) !== 0) },
  c: { meaning: "bit of --cbit or --shared-bit set", test: mapped(({ marked }) => marked) },
  "4k": { meaning: "4-KiB page", test: ofSize("4k") },
  "2m": { meaning: "2-MiB page", test: ofSize("2m") },
  "1g": { meaning: "1-GiB page", test: ofSize("1g") },
  fault: { meaning: "reserved bit set", test: (leaf) => leaf.reserved },
};

/** The names for a message: w, x, ... */
export const PAGE_TEST_NAMES = Object.keys(PAGE_TESTS).join(", ");

/**
 * A filter from text: names with commas between them, all of which must hold; `w|x` is either, `!w` (or `_w`, which
 * no shell takes for itself) is not. Throws RangeError that lists the names.
 */
export function parseFilter(text: string): PageFilter {
  const all = text.split(",").map((term) => {
    const any = term.split("|").map((name) => parseTest(name.trim()));
    return any.length === 1 ? any[0]! : (leaf: LeafCursor) => any.some((test) => test(leaf));
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
  return negated ? (leaf) => !found.test(leaf) : found.test;
}
