import { BYTES_OF_LEVEL, PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import type { ByteRange } from "./byte-range.ts";
import type { Change } from "./debt.ts";

/** The pages that a range touches: a listener rounds its bounds out to pages. */
export function roundedOut({ start, length }: ByteRange): { readonly from: number; readonly to: number } {
  return {
    from: Math.floor(start / PAGE_SIZE) * PAGE_SIZE,
    to: Math.ceil((start + length) / PAGE_SIZE) * PAGE_SIZE,
  };
}

/** Whether a range, rounded out to pages, holds all that a change concerns. */
export function covers(range: ByteRange, { leaf }: Change): boolean {
  const { from, to } = roundedOut(range);
  return leaf.page >= from && leaf.page + BYTES_OF_LEVEL[leaf.level]! <= to;
}

/** The least range that holds all changes. */
export function hullOf(changes: readonly Change[]): ByteRange {
  let start = Infinity;
  let end = 0;
  for (const { leaf } of changes) {
    start = Math.min(start, leaf.page);
    end = Math.max(end, leaf.page + BYTES_OF_LEVEL[leaf.level]!);
  }
  return { start, length: end - start };
}

/** The bytes of changed entries that a range does not touch, neighbours joined. */
export function leftOut(changes: readonly Change[], range: ByteRange): ByteRange[] {
  const { from, to } = roundedOut(range);
  const pieces: ByteRange[] = [];
  for (const { leaf } of changes) {
    const end = leaf.page + BYTES_OF_LEVEL[leaf.level]!;
    if (leaf.page < from) pieces.push({ start: leaf.page, length: Math.min(end, from) - leaf.page });
    if (end > to) {
      const first = Math.max(leaf.page, to);
      pieces.push({ start: first, length: end - first });
    }
  }
  pieces.sort((a, b) => a.start - b.start);
  const joined: ByteRange[] = [];
  for (const piece of pieces) {
    const last = joined.at(-1);
    if (last !== undefined && last.start + last.length >= piece.start) {
      const end = Math.max(last.start + last.length, piece.start + piece.length);
      joined[joined.length - 1] = { start: last.start, length: end - last.start };
    } else joined.push(piece);
  }
  return joined;
}
