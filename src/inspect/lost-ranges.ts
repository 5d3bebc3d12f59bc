import { formatCount, hex, hexAddress } from "../text/hex.ts";
import type { LeafCursor, LostRange } from "./leaves.ts";

/** Lost tables that a listing names; of more it gives the number. */
const MAX_NAMED = 16;

/** What a cursor has met of tables that are missing. */
export type Lost = Pick<LeafCursor, "lost" | "lostCount">;

/** One line for each part of the address space of which nothing is known, because its table is missing. */
export function lostLines({ lost, lostCount }: Lost): string[] {
  const lines = lost.slice(0, MAX_NAMED).map(describe);
  const more = lostCount - lines.length;
  return more === 0 ? lines : [...lines, `and ${formatCount(more)} more tables that are not in the image`];
}

/** The same with stable field names: the first of them. */
export function lostObjects({ lost }: Lost): object[] {
  return lost.map(({ start, length, table }) => ({ start: hex(BigInt(start)), length, table: hex(table) }));
}

function describe({ start, length, table }: LostRange): string {
  const end = start + length;
  const behind = end === 2 ** 64 ? "0xffffffffffffffff" : shortHex(end);
  return `${shortHex(start)}-${behind}: table at ${hex(table)} is not in the image`;
}

function shortHex(address: number): string {
  return `0x${hexAddress(address).replace(/^0+(?=.)/, "")}`;
}
