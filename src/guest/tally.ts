import { FrameSet } from "./frame-set.ts";
import { LEFT_OUT, type LeftOutReason, type UserMapping } from "./guest-mappings.ts";
import type { GuestPage } from "./guest-pages.ts";

/** What is left out for one reason. */
export interface LeftOutCount {
  /** Distinct 4K frames. */
  frames: number;
  /** Entries; a pmd is one. */
  mappings: number;
}

/** Every 4K frame that the processes map, once: `mapped` is `kept` plus the frames of all reasons. */
export interface Tally {
  readonly mapped: number;
  /** Those whose map count has the mappings, so that kpagecount speaks of them. */
  readonly counted: number;
  /** Those in rmap. */
  readonly kept: number;
  readonly leftOut: ReadonlyMap<LeftOutReason, LeftOutCount>;
}

/** Counts frames. One that is mapped both as a page and as a raw frame belongs to its page. */
export function tallyFrames(mappings: readonly UserMapping[], pages: readonly GuestPage[]): Tally {
  const leftOut = new Map<LeftOutReason, LeftOutCount>();
  const countOf = (reason: LeftOutReason): LeftOutCount => {
    const known = leftOut.get(reason) ?? { frames: 0, mappings: 0 };
    leftOut.set(reason, known);
    return known;
  };
  const seen = new FrameSet();

  let kept = 0;
  let counted = 0;
  for (const page of pages) {
    const frames = page.mappings.reduce((sum, { pfn, level }) => sum + seen.add(pfn, level), 0);
    counted += frames;
    if (page.reason === null) {
      kept += frames;
      continue;
    }
    const count = countOf(page.reason);
    count.frames += frames;
    count.mappings += page.mappings.length;
  }
  for (const mapping of mappings) {
    if (mapping.reason === null) continue;
    const count = countOf(mapping.reason);
    count.frames += seen.add(mapping.pfn, mapping.level);
    count.mappings++;
  }
  const inOrder = (Object.keys(LEFT_OUT) as LeftOutReason[]).filter((reason) => leftOut.has(reason));
  return {
    mapped: seen.size,
    counted,
    kept,
    leftOut: new Map(inOrder.map((reason) => [reason, countOf(reason)])),
  };
}
