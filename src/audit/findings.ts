import type { ByteRange } from "./ghost-tlb.ts";
import { type Invariant, invariant } from "./invariants.ts";

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

export interface ChangedBy {
  readonly caller: string;
  readonly primitive: string;
  /** Number of the event at which the entry changed. */
  readonly event: number;
}

export interface FindingDetails {
  /** Number of the rule. */
  readonly rule: number;
  /** "page freed". */
  readonly moment: string;
  /** "CPU 1", or a listener's name. */
  readonly agent: string;
  readonly mm: string;
  /** Linear address, where one applies. */
  readonly address?: number | null;
  readonly frame?: number | null;
  readonly stale?: StaleTranslation | null;
  readonly changedBy?: ChangedBy | null;
  /** The call that should have been made, and when. */
  readonly owed: string;
  /** Bytes that a call with wrong bounds left stale. */
  readonly staleRanges?: readonly ByteRange[];
}

/** One broken promise: which rule, when, who still sees what, who changed the entry and who owed the invalidation. */
export class Finding {
  readonly rule: Invariant;
  readonly title: string;
  readonly moment: string;
  /** Number of the event at which it was judged. */
  readonly event: number;
  /** Everyone concerned; the first is {@link agent}. */
  readonly agents: string[];
  readonly mm: string;
  readonly address: number | null;
  readonly frame: number | null;
  readonly stale: StaleTranslation | null;
  readonly changedBy: ChangedBy | null;
  readonly owed: string;
  readonly staleRanges: readonly ByteRange[];
  /** How often it was found: once for each agent, address or call. */
  count = 1;
  /** Command that replays the run up to here; empty when the auditor was not told one. */
  replay = "";

  constructor(details: FindingDetails, event: number) {
    this.rule = invariant(details.rule);
    this.title = this.rule.title;
    this.moment = details.moment;
    this.event = event;
    this.agents = [details.agent];
    this.mm = details.mm;
    this.address = details.address ?? null;
    this.frame = details.frame ?? null;
    this.stale = details.stale ?? null;
    this.changedBy = details.changedBy ?? null;
    this.owed = details.owed;
    this.staleRanges = details.staleRanges ?? [];
  }

  get agent(): string {
    return this.agents[0]!;
  }

  /** A few lines for a person. */
  explain(): string {
    const lines = [`rule ${this.rule.id} broken: ${this.title}`];
    const what = [];
    if (this.frame !== null) what.push(`frame ${hexNumber(this.frame)}`);
    if (this.address !== null) what.push(`address ${hexNumber(this.address)}`);
    if (this.mm !== "") what.push(`mm ${this.mm}`);
    lines.push(
      `  when     ${this.moment}, event ${this.event}${what.length > 0 ? `: ${what.join(", ")}` : ""}`,
    );
    const times = this.count > 1 ? ` (${this.count} times)` : "";
    lines.push(`  who      ${this.agents.join(", ")}${times}`);
    if (this.stale !== null) {
      const { to, size, rights, dirty } = this.stale;
      lines.push(`  sees     ${to}, ${sizeOf(size)}: ${rights}${dirty ? "; dirty" : ""}`);
    }
    if (this.changedBy !== null) {
      const { caller, primitive, event } = this.changedBy;
      lines.push(`  changed  by ${caller}, ${primitive}, event ${event}`);
    }
    for (const { start, length } of this.staleRanges) {
      lines.push(`  stale    [${hexNumber(start)}, ${hexNumber(start + length)}), ${length} bytes`);
    }
    lines.push(`  owed     ${this.owed}`);
    lines.push(`  source   ${this.rule.source}`);
    if (this.replay !== "") lines.push(`  replay   ${this.replay}`);
    return lines.join("\n");
  }

  /** Plain data, with numbers as they are. */
  toJSON(): Record<string, unknown> {
    const { rule, title, moment, event, agents, mm, address, frame, stale } = this;
    const { changedBy, owed, staleRanges, count, replay } = this;
    return {
      rule: rule.id,
      title,
      source: rule.source,
      moment,
      event,
      agents,
      mm,
      address,
      frame,
      stale,
      changedBy,
      owed,
      staleRanges,
      count,
      replay,
    };
  }
}

/** What was found, each thing once: a repetition only counts up. */
export class FindingLog {
  readonly all: Finding[] = [];
  readonly #byKey = new Map<string, Finding>();
  readonly #replay: ((finding: Finding) => string) | null;

  constructor(replay: ((finding: Finding) => string) | null) {
    this.#replay = replay;
  }

  /** Adds a finding unless one with this rule and key is there. */
  add(key: string, event: number, details: FindingDetails): void {
    const full = `${details.rule}:${key}`;
    const known = this.#byKey.get(full);
    if (known !== undefined) {
      known.count++;
      if (!known.agents.includes(details.agent)) known.agents.push(details.agent);
      return;
    }
    const finding = new Finding(details, event);
    if (this.#replay !== null) finding.replay = this.#replay(finding);
    this.#byKey.set(full, finding);
    this.all.push(finding);
  }

  /** How many findings each rule has, by rule number; rules without one are absent. */
  countByRule(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const { rule } of this.all) counts.set(rule.id, (counts.get(rule.id) ?? 0) + 1);
    return counts;
  }
}

export function hexNumber(value: number): string {
  return `0x${value.toString(16)}`;
}

function sizeOf(bytes: number): string {
  if (bytes % 2 ** 30 === 0) return `${bytes / 2 ** 30} GiB`;
  if (bytes % 2 ** 20 === 0) return `${bytes / 2 ** 20} MiB`;
  return `${bytes / 2 ** 10} KiB`;
}
