import { need } from "../../arch/x86/cpu/argument.ts";
import { flag, shape, text, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { formatBytes, formatRange, hex } from "../text/hex.ts";
import type { ByteRange } from "./ledger/byte-range.ts";
import type { Changer } from "./ledger/changer.ts";

/** What an agent can still reach. */
export interface StaleTranslation {
  /** "frame 0x12345", and whether by a cached translation or by a present entry. */
  readonly to: string;
  readonly size: number;
  /** In words: "read, write, execute". */
  readonly rights: string;
  /** Whether a store would land without a fault. */
  readonly writable: boolean;
  readonly dirty: boolean;
}

/** What was wrong with the call that was made, or that none was. */
export type OwedFault =
  | "missing"
  /** The listener has no such operation. */
  | "not heard"
  /** Its range ends before what it had to cover does, be it in the middle of a small page. */
  | "too short"
  /** Its range begins in the middle of the page. */
  | "unaligned start"
  | "empty range"
  | "too early"
  | "unpaired"
  | "may sleep"
  | "wrong count";

/** The call that should have been made. */
export interface Owed {
  readonly call: string;
  readonly fault: OwedFault;
  /** "before the page is freed"; or, from a colon or comma on, the rest of the sentence. */
  readonly when: string;
  readonly range: ByteRange | null;
  /** What was called instead, and the number of its record. */
  readonly passed: { readonly call: string; readonly range: ByteRange; readonly seq: number } | null;
}

/** What a rule says of one breach. */
export interface FindingDetails {
  /** "page freed". */
  readonly moment: string;
  /** "CPU 1", or a listener's name. */
  readonly agent: string;
  /** Address space, or NONE. */
  readonly space: number;
  /** Linear address, where one applies. */
  readonly linear?: number | null;
  /** Frame, where one applies. */
  readonly pfn?: number | null;
  readonly stale?: StaleTranslation | null;
  readonly changed?: Changer | null;
  /** The function that owed the call, where nothing was changed; default: that of {@link changed}. */
  readonly site?: string;
  readonly owed: Owed;
  /** Bytes that a call with wrong bounds left stale. */
  readonly staleRanges?: readonly ByteRange[];
}

/** Identity of a rule as findings quote it. */
export interface RuleHead {
  readonly id: number | string;
  readonly title: string;
  readonly source: string;
}

const TEXT = text("text");
const RULE = shape<RuleHead>("rule", { title: TEXT, source: TEXT });
const DETAILS = shape<FindingDetails>("details", {
  moment: TEXT,
  agent: TEXT,
  owed: shape<Owed>("owed call", { call: TEXT }),
});
const COUNT = whole("number of a record", 0, Number.MAX_SAFE_INTEGER);
const NAME = text("name");
const AT_END = flag("atEnd");

/** One broken promise: which rule, when, who still sees what, who changed the entry and who owed the invalidation. */
export class Finding {
  readonly rule: RuleHead;
  readonly moment: string;
  /** Number of the record at which it was judged. */
  readonly seq: number;
  /** Everyone concerned; the first is {@link agent}. */
  readonly agents: string[];
  readonly space: number;
  /** The address space's name. */
  readonly mm: string;
  readonly linear: number | null;
  readonly pfn: number | null;
  readonly stale: StaleTranslation | null;
  readonly changed: Changer | null;
  readonly site: string;
  readonly owed: Owed;
  readonly staleRanges: readonly ByteRange[];
  /** It was judged when the run was over, not because of the record of that number. */
  readonly atEnd: boolean;
  /** How often it was found: once for each agent, address or call. */
  count = 1;
  /** Command that replays the run up to here; empty when the auditor was not told one. */
  replay = "";
  /** What was the case before the run began and explains it, in words; null when it is of the run's own making. */
  brought: string | null = null;

  constructor(rule: RuleHead, details: FindingDetails, seq: number, mm: string, atEnd = false) {
    this.rule = need(RULE, rule);
    need(DETAILS, details);
    need(COUNT, seq);
    this.moment = details.moment;
    this.seq = seq;
    this.agents = [details.agent];
    this.space = details.space;
    this.mm = need(NAME, mm);
    this.linear = details.linear ?? null;
    this.pfn = details.pfn ?? null;
    this.stale = details.stale ?? null;
    this.changed = details.changed ?? null;
    this.site = details.site ?? details.changed?.site ?? "";
    this.owed = details.owed;
    this.staleRanges = details.staleRanges ?? [];
    this.atEnd = need(AT_END, atEnd);
  }

  get agent(): string {
    return this.agents[0]!;
  }

  /** A few lines for a person. */
  explain(): string {
    const {
      rule,
      moment,
      seq,
      pfn,
      linear,
      mm,
      agents,
      count,
      stale,
      changed,
      staleRanges,
      replay,
      brought,
    } = this;
    const what = [];
    if (pfn !== null) what.push(`frame ${hex(pfn)}`);
    if (linear !== null) what.push(`address ${hex(linear)}`);
    if (mm !== "") what.push(`mm ${mm}`);
    const lines = [
      `rule ${rule.id} broken: ${rule.title}`,
      `  when     ${moment}, event ${seq}${what.length > 0 ? `: ${what.join(", ")}` : ""}`,
      `  who      ${agents.join(", ")}${count > 1 ? ` (${count} times)` : ""}`,
    ];
    if (stale !== null) {
      const { to, size, rights, dirty } = stale;
      lines.push(`  sees     ${to}, ${formatBytes(size)}: ${rights}${dirty ? "; dirty" : ""}`);
    }
    if (changed !== null) {
      const by = changed.primitive === "" ? changed.site : `${changed.site}, ${changed.primitive}`;
      lines.push(`  changed  by ${by}, event ${changed.seq}`);
    }
    for (const { start, length } of staleRanges) {
      lines.push(`  stale    ${formatRange({ start, length })}`);
    }
    lines.push(`  owed     ${owedText(this.owed)}`, `  source   ${rule.source}`);
    if (brought !== null) lines.push(`  brought  ${brought}`);
    if (replay !== "") lines.push(`  replay   ${replay}`);
    return lines.join("\n");
  }

  /** Plain data: see {@link findingJson}. */
  toJSON(): Record<string, unknown> {
    return findingJson(this);
  }
}

/** A finding as plain data: numbers that are addresses or frames as hexadecimal text. */
export function findingJson(finding: Finding): Record<string, unknown> {
  const {
    rule,
    moment,
    seq,
    agents,
    mm,
    linear,
    pfn,
    stale,
    changed,
    site,
    owed,
    staleRanges,
    count,
    replay,
    brought,
  } = finding;
  return {
    rule: rule.id,
    title: rule.title,
    source: rule.source,
    moment,
    event: seq,
    agents,
    mm,
    linear: linear === null ? null : hex(linear),
    pfn: pfn === null ? null : hex(pfn),
    stale,
    changedBy:
      changed === null ? null : { function: changed.site, primitive: changed.primitive, event: changed.seq },
    site,
    owed: owedJson(owed),
    staleRanges: staleRanges.map(rangeJson),
    count,
    replay,
    brought,
  };
}

/** An owed call as plain data, with the sentence for a person. */
export function owedJson(owed: Owed): Record<string, unknown> {
  const { call, fault, range, passed } = owed;
  return {
    call,
    fault,
    range: rangeJson(range),
    passed: passed === null ? null : { call: passed.call, range: rangeJson(passed.range), event: passed.seq },
    text: owedText(owed),
  };
}

/** The call in one sentence, with what was wrong with the one that was made. */
export function owedText({ call, when, range, passed, fault }: Owed): string {
  const of = range === null ? "" : ` of ${formatRange(range)}`;
  const until = when === "" ? "" : /^[:,]/.test(when) ? when : ` ${when}`;
  if (passed === null) return `${call}${of}${until}`;
  if (fault === "not heard") return `${call}${of}${until}: it has no ${passed.call}, which was called`;
  return `${call}${of}${until}, not of ${formatRange(passed.range)}`;
}

function rangeJson(range: ByteRange | null): unknown {
  return range === null ? null : { start: hex(range.start), length: range.length };
}
