import { Entry } from "../../arch/x86/cpu/entry.ts";
import { WIDEST_LAYOUT } from "../../arch/x86/cpu/entry-layout.ts";
import type { Paint } from "../text/paint.ts";
import { decodeEntry } from "./decode-report.ts";
import { summaryLines } from "./decode-summary.ts";
import type { FoundDoubt } from "./doubt.ts";
import { shapeDoubts } from "./doubts.ts";
import { fieldBits } from "./entry-flags.ts";
import type { ForeignWord } from "./foreign-word.ts";
import { linuxPteFormat } from "./linux-reading.ts";
import { implausibleFrame, MOST_SLOTS } from "./plausibility.ts";

/** The word as lines for a person, with every field that is not zero if `every`. */
export function foreignLines(
  word: ForeignWord,
  value: bigint,
  doubts: readonly FoundDoubt[],
  every: boolean,
  paint: Paint,
): string[] {
  const { format, what, address, rights, type, fields } = word;
  const text = `${Entry.fromBigInt(value)}`;
  const summary = { value: text, what: `${format}: ${what}`, address, rights, type, linux: [] };
  const lines = summaryLines(summary, doubts, paint);
  if (!every) return lines;
  const rows = fields.map(({ name, bits, value: said, meaning }) =>
    `${fieldBits({ bits }).padStart(7)}  ${name.padEnd(15)}  ${said.padEnd(18)}  ${meaning}`.trimEnd(),
  );
  return [...lines, "", ...rows];
}

/** What is to be doubted about a word of another format on a CPU of `maxPhyAddr` address bits. */
export function foreignDoubts(word: ForeignWord, value: bigint, maxPhyAddr: number): FoundDoubt[] {
  const { frame, slot, broken } = word;
  const far = frame === null ? null : implausibleFrame(frame, maxPhyAddr);
  const beyond =
    slot !== null && slot >= MOST_SLOTS ? `slot ${slot} is beyond any page file or swap area` : null;
  const wrong = far ?? beyond ?? (broken ? "it is broken" : null);
  const decoded = decodeEntry(Entry.fromBigInt(value), "pte", 4, WIDEST_LAYOUT, [
    linuxPteFormat("linux-6.1", null),
  ]);
  const shape = shapeDoubts(decoded, wrong)[0];
  if (shape !== undefined) return [shape];
  return [
    ...(far === null ? [] : [{ id: "frame-beyond", text: far }]),
    ...(beyond === null ? [] : [{ id: "swap-beyond", text: beyond }]),
  ];
}
