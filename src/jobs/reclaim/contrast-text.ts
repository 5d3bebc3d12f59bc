import type { Story, StoryLine } from "../../audit/story/story.ts";
import { storyLines } from "../../audit/story/story-text.ts";
import { type Paint, plain } from "../../text/paint.ts";

/** Lines of the other run that are told from where the two part. */
const SHOWN = 12;

/**
 * Indexes of the lines at which the kernel first did different things in two stories of a page; their lengths where it
 * never did.
 */
export function partingOf(a: Story, b: Story): readonly [number, number] {
  const stepsOfA = steps(a.lines);
  const stepsOfB = steps(b.lines);
  const both = Math.min(stepsOfA.length, stepsOfB.length);
  for (let i = 0; i < both; i++) {
    if (stepsOfA[i]!.step !== stepsOfB[i]!.step) return [stepsOfA[i]!.at, stepsOfB[i]!.at];
  }
  return [stepsOfA[both]?.at ?? a.lines.length, stepsOfB[both]?.at ?? b.lines.length];
}

function steps(lines: readonly StoryLine[]): { readonly step: string; readonly at: number }[] {
  return lines.flatMap(({ step }, at) => (step === null ? [] : [{ step, at }]));
}

/** A part of a story: the line before an index, and a few from it on. */
export function excerpt(story: Story, at: number, shown: number): Story {
  return { ...story, lines: story.lines.slice(Math.max(0, at - 1), at + shown), left: 0 };
}

/** The same moment under another protocol: its story from the line before the two part. */
export function contrastLines(told: Story, contrast: Story, paint: Paint = plain): string[] {
  const [, at] = partingOf(told, contrast);
  const title = paint("heading", "The same moment under protocol c");
  if (at >= contrast.lines.length) return [title, "  the kernel does the same"];
  return [title, ...storyLines(excerpt(contrast, at, SHOWN), [], paint)];
}
