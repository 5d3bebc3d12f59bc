import { formatBytes, formatCount, formatRange, hex } from "../text/hex.ts";
import { wrap } from "../text/wrap.ts";
import type { Cause, Place } from "./causes.ts";
import type { ByteRange } from "./ledger/byte-range.ts";

/** What a cause is, in a few words: what was wrong with the call that was made, or which one never came. */
export function causeTitle({ worst, places }: Cause): string {
  const { call, fault, range, passed } = worst.owed;
  const bytes =
    passed === null || range === null
      ? ""
      : `: ${formatBytes(passed.range.length)} for ${formatBytes(range.length)}`;
  const site = places[0]!.site;
  switch (fault) {
    case "not heard":
      return `the wrong primitive: the listener has no ${passed?.call ?? call}`;
    case "too short":
      return `the range ends too early${bytes}`;
    case "unaligned start":
      return `the range starts inside the page${bytes}`;
    case "empty range":
      return "the range is empty";
    case "too early":
      return `${call} comes before the entry is cleared`;
    case "unpaired":
      return `a range_start and its range_end do not pair up: ${call} is missing`;
    case "may sleep":
      return `${call} may sleep where it must not`;
    case "wrong count":
      return call;
    case "missing":
      return site === "" ? `missing: ${call}` : `missing in ${site}: ${call}`;
  }
}

/** A cause in a few lines: what was called, what was owed, where, and how far it reaches. */
export function causeLines(cause: Cause, width: number): string[] {
  const { worst, count, pfns } = cause;
  const { owed } = worst;
  const lines: string[] = [];
  const say = (label: string, text: string): void => {
    lines.push(...wrap(text, width, `   ${label.padEnd(8)} `, " ".repeat(12)));
  };
  if (owed.passed !== null)
    say("called", withRange(`mmu_notifier_${bare(owed.passed.call)}`, owed.passed.range));
  say("owed", [withRange(owed.call, owed.range), owed.when].filter((text) => text !== "").join(" "));
  say("in", placesText(cause.places));
  const example = worst.pfn ?? cause.first.pfn;
  const about = example === null ? "" : `; for one, --page ${hex(example)}`;
  say("extent", `${extentText(count, pfns.size)}${about}`);
  return lines;
}

/** "3 findings, 2 frames". */
export function extentText(findings: number, frames: number): string {
  const of = frames === 0 ? "" : `, ${formatCount(frames)} ${frames === 1 ? "frame" : "frames"}`;
  return `${formatCount(findings)} ${findings === 1 ? "finding" : "findings"}${of}`;
}

/** "try_to_unmap_one: rules 2, 9; page_mkclean_one: rule 11". */
function placesText(places: readonly Place[]): string {
  const bySite = new Map<string, (number | string)[]>();
  for (const { site, rule } of places) bySite.set(site, [...(bySite.get(site) ?? []), rule.id]);
  return [...bySite]
    .map(([site, ids]) => {
      const rules = `rule${ids.length === 1 ? "" : "s"} ${[...ids].sort(byId).join(", ")}`;
      return site === "" ? rules : `${site}: ${rules}`;
    })
    .join("; ");
}

/** Numbers in their order, then the rules that have letters. */
export function byId(a: number | string, b: number | string): number {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function bare(call: string): string {
  return call.replace(/^mmu_notifier_/, "");
}

function withRange(call: string, range: ByteRange | null): string {
  return range === null ? call : `${call} ${formatRange(range)}`;
}
