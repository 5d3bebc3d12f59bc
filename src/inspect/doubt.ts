import type { Entry } from "../../arch/x86/cpu/entry.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import type { DecodedEntry } from "./decode-report.ts";

/** A value, with what doubting it needs. */
export interface Doubted {
  readonly value: bigint;
  readonly entry: Entry;
  readonly decoded: DecodedEntry;
  /** Layouts that the value was read with; at least one. */
  readonly pteFormats: readonly PteFormat[];
  /** Why no kernel that was asked stores such an entry; null when one may. */
  readonly wrong: string | null;
  /** What else it may be: other kernels, Windows, an EPT. */
  readonly likelier: readonly string[];
}

/** One way in which a value is not the entry that it was taken for. */
export interface Doubt {
  readonly id: string;
  /** A value that it doubts, of a level (default pte) and for a layout (default linux-6.1). */
  readonly example: {
    readonly value: bigint;
    readonly level?: DecodedEntry["name"];
    readonly kernel?: string;
  };
  /** The doubt in words, with the likelier reading; null for a value that is not of this kind. */
  says(doubted: Doubted): string | null;
}

/** A doubt about one value. */
export interface FoundDoubt {
  readonly id: string;
  readonly text: string;
}
