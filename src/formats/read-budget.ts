import { need } from "../../arch/x86/cpu/argument.ts";
import { numeral } from "../../arch/x86/cpu/argument-kinds.ts";
import { FormatError } from "./format-error.ts";

/** Bytes that one reader may take in: read from disk, inflated, or copied out of a file. */
export const MAX_READ_BYTES = 2 ** 33;
/** Visits of a table page at a level: 8 GiB of memory, all of it tables, at each of five levels. */
export const MAX_TABLE_VISITS = 5 * 2 ** 21;

const MOST = numeral<number>("limit", "a whole number, or Infinity", (most) => most >= 0 && !(most % 1 > 0));

/**
 * The work that reading outside files may cost, counted as it happens. Every reader's own work is linear in
 * these two counters, so they bound it, whatever lengths a hostile file claims. One budget may span several
 * readers; {@link ReadBudget} throws FormatError in the name of the file that goes over.
 */
export class ReadBudget {
  readonly maxBytes: number;
  readonly maxTableVisits: number;
  /** Bytes read from disk plus bytes that came out of decompression. */
  bytes = 0;
  /** Table pages visited, counted once per level that they are reached at. */
  tableVisits = 0;

  constructor(maxBytes = MAX_READ_BYTES, maxTableVisits = MAX_TABLE_VISITS) {
    this.maxBytes = need(MOST, maxBytes);
    this.maxTableVisits = need(MOST, maxTableVisits);
  }

  get bytesLeft(): number {
    return this.maxBytes - this.bytes;
  }

  /** Ask before reading `count` bytes of `file`. */
  takeBytes(file: string, count: number): void {
    if (count > this.bytesLeft) {
      throw new FormatError(file, null, `at most ${this.maxBytes} bytes of input in all`);
    }
    this.bytes += count;
  }

  /** Ask before visiting one table page. */
  takeTableVisit(file: string): void {
    if (this.tableVisits >= this.maxTableVisits) {
      throw new FormatError(file, null, `at most ${this.maxTableVisits} table pages`);
    }
    this.tableVisits++;
  }
}
