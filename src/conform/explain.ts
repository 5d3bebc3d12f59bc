import { bitsOf, ENTRY_LAYOUT, useOf } from "../../arch/x86/cpu/entry-layout.ts";
import { ERROR_CODE_BITS } from "../inspect/error-code.ts";
import { hex } from "../text/hex.ts";
import type { ToldResult } from "./answer.ts";
import { type ConformCase, type Outcome, VECTOR_PF } from "./case.ts";
import { type CaseWalk, walkOfStep } from "./case-walk.ts";
import { bitList, entryPlace, levelName, reservedFields } from "./explain-entry.ts";
import {
  accessKind,
  accessWords,
  deniedBy,
  noKeyDenies,
  type Reason,
  refutedClaim,
} from "./explain-right.ts";
import { describeOutcome } from "./outcome-text.ts";
import { ANSWER_RULES, RULES, type Rule, type RuleName } from "./rules.ts";

/** One thing that an answer got wrong, explained. */
export interface Point {
  /** What is wrong and why, without addresses: cases that share it have one cause. */
  readonly cause: string;
  /** The level of the entry that decides it, or null. */
  readonly level: string | null;
  /** The same with the case's entries and values. */
  readonly detail: string;
  readonly rule: Rule;
}

/** Bits 51:12. */
const PAGE_ADDRESS = 0xf_ffff_ffff_f000n;

type Told = Exclude<ToldResult, null>;
type Fault = Extract<Told, { fault: unknown }>["fault"];

/** Rules that a TLB breaks, and no walk. */
const TLB_RULES: ReadonlySet<RuleName> = new Set([
  "cached-rights",
  "cached-translation",
  "dirty-again",
  "not-cached",
  "confirmed",
  "control-flush",
  "pcid",
  "mov-cr3",
  "invlpg",
  "invpcid",
]);

/** What is wrong with the answer to one step, bit by bit; the answer is none of those allowed. */
export function explainStep(conformCase: ConformCase, index: number, told: Told): Point[] {
  const { allow, rule } = conformCase.expect.results[index]!;
  const is = nearest(allow, told);
  const faultAddress =
    "fault" in is ? is.fault.cr2 : "fault" in told ? secondPage(conformCase, index, told) : undefined;
  const walk = walkOfStep(conformCase, index, faultAddress);
  const whole = differs(told, is, RULES[rule]);
  if (walk === null) return [whole];
  if ("fault" in told && "fault" in is) {
    if (told.fault.vector !== is.fault.vector) return [wrongVector(walk, told, is, RULES[rule])];
    return is.fault.vector === VECTOR_PF ? wrongPageFault(walk, told.fault, is.fault, RULES[rule]) : [whole];
  }
  if ("fault" in is && is.fault.vector !== VECTOR_PF) return [wrongVector(walk, told, is, RULES[rule])];
  if ("fault" in told && told.fault.vector !== VECTOR_PF) return [wrongVector(walk, told, is, RULES[rule])];
  if (TLB_RULES.has(rule) && isOfThePast(conformCase, index, told))
    return [staleUse(walk, told, is, RULES[rule])];
  if ("fault" in is) return [notStopped(walk, RULES[rule])];
  if ("fault" in told) {
    const { kind, detail } = refutedClaim(walk, told.fault.error);
    const words = accessWords(walk.access);
    return [
      point(
        `${accessKind(walk.access)} is allowed, but the answer ${kind}`,
        `${words} is allowed: ${detail}`,
        walk,
        RULES[rule],
      ),
    ];
  }
  return "pa" in told && "pa" in is ? [wrongAddress(walk, told.pa, is.pa, RULES[rule])] : [whole];
}

/** The allowed outcome that has most in common with what was told. */
function nearest(allow: readonly Outcome[], told: Told): Outcome {
  const kind = (one: Outcome | Told): string => ("fault" in one ? `fault ${one.fault.vector}` : "done");
  return allow.find((outcome) => kind(outcome) === kind(told)) ?? allow[0]!;
}

/** Where the second page of an access begins, when the answer has its fault there. */
function secondPage({ steps }: ConformCase, index: number, { fault }: { fault: Fault }): bigint | undefined {
  const step = steps[index];
  if (step?.op !== "access" || fault.cr2 === undefined) return undefined;
  const behind = (step.la & ~0xfffn) + 0x1000n;
  return fault.cr2 === behind && step.la + BigInt(step.size) > behind ? behind : undefined;
}

function point(cause: string, detail: string, walk: CaseWalk | null, rule: Rule): Point {
  const last = walk?.path.at(-1);
  return { cause, detail, rule, level: last === undefined ? null : levelName(last) };
}

function differs(told: Told, is: Outcome, rule: Rule): Point {
  const detail = `said ${describeOutcome(told)}, is ${describeOutcome(is)}`;
  return {
    cause: `${outcomeKind(told)} instead of ${outcomeKind(is)}: ${rule.says}`,
    detail,
    level: null,
    rule,
  };
}

/** "#PF", "no fault": of an outcome without its values. */
function outcomeKind(outcome: Told | Outcome): string {
  if (!("fault" in outcome)) return "no fault";
  const { vector } = outcome.fault;
  return describeOutcome({ fault: { vector } });
}

function wrongVector(walk: CaseWalk, told: Told, is: Outcome, rule: Rule): Point {
  const { access } = walk;
  const second =
    access.la !== undefined && walk.path.length > 0 ? ", of which only the end is not canonical" : "";
  const why =
    "fault" in is && is.fault.vector !== VECTOR_PF
      ? `${access.stack ? "through SS, " : ""}an address that is not canonical${second}`
      : rule.says;
  const kind = `exception: said ${outcomeKind(told)}, is ${outcomeKind(is)}: ${why}`;
  const detail = `exception: said ${outcomeKind(told)}, is ${outcomeKind(is)}: ${hex(access.la)}, ${access.size} bytes, ${why}`;
  return { cause: kind, detail, level: null, rule };
}

/** Whether a cache can have had the answer: every answer but an address that no entry ever led to. */
function isOfThePast({ memory, steps }: ConformCase, index: number, told: Told): boolean {
  if (!("pa" in told)) return true;
  const stores = steps.slice(0, index).flatMap((step) => (step.op === "write_entry" ? [step.value] : []));
  return [...memory.map(({ value }) => value), ...stores].some((value) => {
    return (value & PAGE_ADDRESS) === (BigInt(told.pa) & PAGE_ADDRESS);
  });
}

function staleUse(walk: CaseWalk, told: Told, is: Outcome, rule: Rule): Point {
  const last = walk.path.at(-1);
  const memory = last === undefined ? "" : `; in memory the ${entryPlace(last)} is ${last.entry}`;
  const stale = "fault" in is ? "no fault" : "an old address";
  const kind = "fault" in told ? outcomeKind(told) : stale;
  return {
    cause: `TLB: ${kind} instead of ${"fault" in is ? outcomeKind(is) : "what is in memory"}: ${rule.says}`,
    detail: `said ${describeOutcome(told)}, is ${describeOutcome(is)}${memory}`,
    level: null,
    rule,
  };
}

/** What the walk's end says of a fault: a reserved bit, P=0 or a right. */
function faultReason(walk: CaseWalk): Reason {
  const last = walk.path.at(-1);
  if (last === undefined) return { kind: "no walk", detail: "no walk" };
  if (walk.end.end === "not-present") {
    return { kind: "an entry has P=0", detail: `${entryPlace(last)}, bit 0 (P): 0, no right is judged` };
  }
  if (walk.end.end === "reserved") {
    const detail = reservedFields(walk)
      .map(({ place, why }) => `${place}: ${why}`)
      .join(", ");
    return { kind: "a reserved bit is set", detail };
  }
  const denied = deniedBy(walk);
  return { kind: `denied by ${denied.kind}`, detail: `denied by ${denied.detail}` };
}

/** A fault that did not happen. */
function notStopped(walk: CaseWalk, rule: Rule): Point {
  const { detail } = faultReason(walk);
  const cause =
    walk.end.end === "reserved"
      ? `reserved bit not checked: ${reservedFields(walk)
          .map(({ kind, why }) => `${kind}, ${why}`)
          .join("; ")}`
      : walk.end.end === "not-present"
        ? "P=0 in an entry does not end the walk"
        : `right not enforced: ${deniedBy(walk).kind} does not stop a ${accessKind(walk.access)}`;
  return point(cause, `no fault in a ${accessWords(walk.access)}: ${detail}`, walk, rule);
}

function wrongPageFault(walk: CaseWalk, told: Fault, is: Fault, rule: Rule): Point[] {
  const points: Point[] = [];
  const wrong = told.error === undefined || is.error === undefined ? 0 : told.error ^ is.error;
  for (const { bit, name } of ERROR_CODE_BITS) {
    if ((wrong & bit) === 0) continue;
    const [said, right] = (told.error! & bit) !== 0 ? [1, 0] : [0, 1];
    const title = `error code bit ${31 - Math.clz32(bit)} (${name}): said ${said}, is ${right}`;
    const { kind, detail } = bitReason(walk, name, right === 1);
    const rmw = name === "W/R" && walk.access.kind === "rmw";
    const judged = rmw
      ? ANSWER_RULES["error-rmw"]
      : name === "PK" || name === "P"
        ? rule
        : ANSWER_RULES.error;
    points.push(point(`${title}: ${kind}`, `${title}: ${detail}`, walk, judged));
  }
  if (told.cr2 !== undefined && is.cr2 !== undefined && told.cr2 !== is.cr2) {
    points.push(wrongCr2(walk, told.cr2, is.cr2));
  }
  return points;
}

function wrongCr2(walk: CaseWalk, told: bigint, is: bigint): Point {
  const across = is !== walk.access.la || (told & ~0xfffn) !== (is & ~0xfffn);
  const kind =
    told === (is & ~0xfffn)
      ? "its low 12 bits are missing"
      : across
        ? "it is another page's"
        : "another byte's";
  return {
    cause: `CR2: ${kind}`,
    detail: `CR2: said ${hex(told)}, is ${hex(is)}: ${kind}`,
    level: null,
    rule: across ? ANSWER_RULES.across : ANSWER_RULES.cr2,
  };
}

/** Why a bit of the error code is what it is. */
function bitReason(walk: CaseWalk, name: string, set: boolean): Reason {
  const { access, end, on } = walk;
  const same = (text: string): Reason => ({ kind: text, detail: text });
  const words = accessWords(access);
  switch (name) {
    case "P":
      return faultReason(walk);
    case "RSVD":
      if (set || end.end === "not-present") return faultReason(walk);
      return same("no reserved bit is set");
    case "W/R":
      if (access.kind === "rmw") return same("a read-modify-write is checked as a write");
      return same(`the access is a ${words}`);
    case "U/S":
      if (access.kind === "implicit_read") return same("the CPU's own access is the supervisor's at any CPL");
      return same(access.kind === "wruss" ? "WRUSS is a user access at CPL 0" : `CPL ${access.cpl}`);
    case "I/D":
      if (access.kind !== "fetch") return same(`the access is a ${words}, no fetch`);
      return same(
        set
          ? `a fetch, and ${["nxe", "smep"]
              .filter((one) => on.has(one))
              .map((one) => `${one.toUpperCase()}=1`)
              .join(", ")}`
          : "a fetch, but NXE=0 and SMEP=0",
      );
    case "PK":
      return set ? faultReason(walk) : noKeyDenies(walk);
    default:
      return same(set ? "WRUSS is a shadow-stack access" : "no shadow-stack access");
  }
}

function wrongAddress(walk: CaseWalk, told: number, is: number, rule: Rule): Point {
  const leaf = walk.path.at(-1)!;
  const field = ENTRY_LAYOUT.find((one) => useOf(one, leaf.kind, walk.layout) === "address")!;
  const [high, low] = bitsOf(field, walk.layout.maxPhyAddr);
  const wrong = BigInt(told) ^ BigInt(is);
  const bits: number[] = [];
  for (let bit = 51; bit >= 0; bit--) if (((wrong >> BigInt(bit)) & 1n) !== 0n) bits.push(bit);
  const [only, another] = bits;
  const which = another === undefined ? `, bit ${only}` : bits[0]! < low ? ", in the offset" : "";
  const from =
    bits[0]! < low
      ? `bits ${low - 1}:0 are the linear address's`
      : `bits ${high}:${low} are those of the ${levelName(leaf)}, all address`;
  return point(
    `physical address${which}: ${from}`,
    `physical address: said ${hex(told)}, is ${hex(is)}, ${bitList(bits)} wrong: ${entryPlace(leaf)} is ${leaf.entry}, of which ${from}`,
    walk,
    rule,
  );
}
