import { causeTitle } from "../../audit/cause-text.ts";
import type { Cause } from "../../audit/causes.ts";
import type { Story } from "../../audit/story/story.ts";
import { CELLS, storyLines } from "../../audit/story/story-text.ts";
import type { GuestSnapshot } from "../../formats/guest-snapshot.ts";
import { scanGuest } from "../../guest/scan-guest.ts";
import type { NotifierProtocol } from "../../mm/mm_types.ts";
import { hex } from "../../text/hex.ts";
import { type Paint, plain } from "../../text/paint.ts";
import { wrap } from "../../text/wrap.ts";
import { type AuditSettings, runWith } from "./audit-report.ts";
import { excerpt, partingOf } from "./contrast-text.ts";

/** Lines told of each run from where the two part. */
const SHOWN = 4;
const WIDTH = 80;

/** Where two protocols first part on a frame of one cause. */
export interface Parting {
  readonly cause: Cause;
  readonly pfn: number;
  readonly stories: readonly [Story, Story];
  /** Index of the first line of each that differs. */
  readonly at: readonly [number, number];
}

/** Where two protocols part, for each cause of the first. */
export interface ProtocolDiff {
  /** Names of the protocols; the causes are those of the first. */
  readonly protocols: readonly [string, string];
  readonly partings: readonly Parting[];
  /** Causes that no frame shows. */
  readonly others: readonly Cause[];
}

/** Runs both protocols, and follows a frame of each of the first one's causes through both. */
export function diffProtocols(
  guest: GuestSnapshot,
  settings: AuditSettings,
  [one, other]: readonly [string | NotifierProtocol, string | NotifierProtocol],
): ProtocolDiff {
  const scan = scanGuest(guest);
  const { causes, protocol } = runWith(scan, settings, one, []);
  const shown = causes.filter(({ pfns }) => pfns.size > 0);
  const pages = shown.map((cause) => cause.worst.pfn ?? cause.first.pfn ?? [...cause.pfns][0]!);
  const first = runWith(scan, settings, one, pages);
  const second = runWith(scan, settings, other, pages);
  const partings = shown.map((cause, i): Parting => {
    const stories = [first.stories[i]!, second.stories[i]!] as const;
    return { cause, pfn: pages[i]!, stories, at: partingOf(...stories) };
  });
  const others = causes.filter(({ pfns }) => pfns.size === 0);
  return { protocols: [protocol, second.protocol], partings, others };
}

/** The partings for a person. Ends with a newline. */
export function diffText(
  { protocols: [one, other], partings, others }: ProtocolDiff,
  paint: Paint = plain,
): string {
  const lines = [
    paint("heading", `Where protocols ${one} and ${other} first part, by what is wrong under ${one}`),
  ];
  if (partings.length > 0) lines.push(`  ${CELLS}`);
  if (partings.length + others.length === 0) lines.push(`  nothing is wrong under ${one}`);
  partings.forEach(({ cause, pfn, stories, at }, i) => {
    const title = wrap(
      `${causeTitle(cause)} (frame ${hex(pfn)})`,
      WIDTH,
      `${String(i + 1).padStart(3)}. `,
      "     ",
    );
    lines.push("", ...title.map((line) => paint("danger", line)));
    for (const run of [0, 1] as const) {
      const told = storyLines(excerpt(stories[run], at[run], SHOWN), [], paint);
      lines.push(paint("quiet", `     under ${run === 0 ? one : other}`), ...told);
    }
  });
  for (const cause of others)
    lines.push("", ...wrap(`${causeTitle(cause)}: no frame shows it`, WIDTH, "     ", "     "));
  return `${lines.join("\n")}\n`;
}
