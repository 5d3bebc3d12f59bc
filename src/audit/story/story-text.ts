import { hex } from "../../text/hex.ts";
import { type Paint, plain } from "../../text/paint.ts";
import { wrap } from "../../text/wrap.ts";
import { type Finding, owedText } from "../findings.ts";
import type { Hold, Lane } from "./holdings.ts";
import type { Story, StoryLine } from "./story.ts";

/** Lanes that have a column of their own; the others follow the tables all the time. */
const MOST_LANES = 8;
const WIDTH = 80;
const SEQ_WIDTH = 9;

/**
 * A story for a person, 80 columns wide. `findings` are those about the frame: they say where a call was owed. Lines may
 * have a mark of one character in the first column.
 *
 *      event  A  B  C
 *       2871  W  w  .   CPU 1 writes 0x7f3597572000
 *       2903  W! w! .   CPU 0: entry PWAD -> not present      <-- owed here
 */
export function storyLines(
  story: Story,
  findings: readonly Finding[],
  paint: Paint = plain,
  marks: ReadonlyMap<StoryLine, string> = new Map(),
): string[] {
  const lanes = shownLanes(story);
  if (story.lines.length === 0) return [`frame ${hex(story.pfn)}: nothing happened to it`];
  const lines = legend(story, lanes);
  const indent = " ".repeat(SEQ_WIDTH + 3 * lanes.length + 3);
  const told = new Set<string>();
  story.lines.forEach((line, i) => {
    if (i === story.gapAt && story.left > 0) lines.push(`${indent}... ${story.left} more ...`);
    lines.push(...tellLine(line, lanes, indent, findings, paint, marks.get(line) ?? " ", told));
  });
  return lines;
}

/** The lanes with a column: those that were ever stale or not heard before those that acted; CPUs come first. */
function shownLanes({ lanes, lines }: Story): readonly Lane[] {
  const weight = new Map<string, number>();
  const weigh = (key: string, by: number) => weight.set(key, Math.max(by, weight.get(key) ?? 0));
  for (const { actor, holds, unheard } of lines) {
    if (actor !== null) weigh(actor, 1);
    for (const key of unheard) weigh(key, 2);
    for (const [key, { stale }] of holds) weigh(key, stale ? 3 : 0);
  }
  const rank = ({ key }: Lane) => weight.get(key) ?? -1;
  const chosen = [...lanes].sort((a, b) => rank(b) - rank(a)).slice(0, MOST_LANES);
  return lanes
    .filter((lane) => chosen.includes(lane) && rank(lane) >= 0)
    .sort((a, b) => a.key.localeCompare(b.key, "en", { numeric: true }));
}

/** What the cells of a story mean. */
export const CELLS = "r to read, w to write, capital where it did hold one in this run, ! stale";

function legend({ lanes: all }: Story, lanes: readonly Lane[]): string[] {
  if (all.length === 0) return ["event".padStart(SEQ_WIDTH)];
  const names = lanes.map(({ name }, i) => `${letter(i)} ${name}`).join(", ");
  const rest = all.length - lanes.length;
  const others = rest === 0 ? "" : `, and ${rest} more that follow the tables`;
  return [
    ...wrap(`${names}${others}`, WIDTH, "  ", "    "),
    `${"event".padStart(SEQ_WIDTH)} ${lanes.map((_, i) => ` ${letter(i)} `).join("")}`.trimEnd(),
  ];
}

function letter(index: number): string {
  return String.fromCharCode(65 + index);
}

function tellLine(
  line: StoryLine,
  lanes: readonly Lane[],
  indent: string,
  findings: readonly Finding[],
  paint: Paint,
  mark: string,
  told: Set<string>,
): string[] {
  const { seq, text, holds, held, unheard, ends } = line;
  const cells = lanes.map(({ key }) => cell(holds.get(key), held?.has(key) ?? false)).join("");
  const head = `${mark}${(ends ? "" : String(seq)).padStart(SEQ_WIDTH - 1)} ${cells}  `;
  const [first = "", ...more] = wrap(text, WIDTH, head, indent);
  const lines = [first, ...more];
  for (const lane of lanes) if (unheard.includes(lane.key)) lines.push(`${indent}x ${lane.name}: no such op`);
  return [...lines, ...findingLines(findings, line, indent, paint, told)];
}

/** What is found at a line, and what was owed there; in short what was told before. */
function findingLines(
  findings: readonly Finding[],
  { seq, ends }: StoryLine,
  indent: string,
  paint: Paint,
  told: Set<string>,
): string[] {
  const here = (at: number, atEnd: boolean): boolean => at === seq && atEnd === ends;
  const owed = new Set(
    findings
      .filter((finding) => here(owedAt(finding), owedAt(finding) === finding.seq && finding.atEnd))
      .map((finding) => owedText(finding.owed)),
  );
  const lines: string[] = [];
  const isNew = (what: string): boolean => !told.has(what) && told.add(what) === told;
  for (const what of owed) {
    const said = isNew(what) ? `<-- owed here: ${what}` : "<-- owed here, too";
    lines.push(...wrap(said, WIDTH, indent, `${indent}    `));
  }
  for (const finding of findings) {
    if (!here(finding.seq, finding.atEnd)) continue;
    const broken = `=> rule ${finding.rule.id} broken`;
    const how = isNew(broken) ? `: ${finding.rule.title}` : " again";
    const said = `${broken}${how} (${finding.agents.join(", ")})`;
    lines.push(...wrap(said, WIDTH, indent, `${indent}   `).map((each) => paint("danger", each)));
  }
  return lines;
}

/** The event at which the owed call was due: the call that was made instead, or the change that nobody told of. */
export function owedAt({ owed, changed, seq }: Finding): number {
  return owed.passed?.seq ?? changed?.seq ?? seq;
}

function cell(hold: Hold | undefined, held: boolean): string {
  if (hold === undefined) return " . ";
  const right = hold.write ? "w" : "r";
  return ` ${held ? right.toUpperCase() : right}${hold.stale ? "!" : " "}`;
}
