/** Editions whose sections are cited; numbers move between editions, titles hardly do. */
const EDITIONS = {
  sdm: "SDM vol. 3 (September 2016)",
  sdm1: "SDM vol. 1 (September 2016)",
  sdm2: "SDM vol. 2 (September 2016)",
  apm: "APM vol. 2 (24593)",
} as const;

/** Sections by edition and number, with their titles. */
const SECTIONS = {
  "sdm1 3.3.7.1": "Canonical Addressing",
  "sdm2 INVPCID": "Invalidate Process-Context Identifier",
  "sdm 2.5": "Control Registers",
  "sdm 4.5": "4-Level Paging",
  "sdm 4.6.1": "Determination of Access Rights",
  "sdm 4.6.2": "Protection Keys",
  "sdm 4.7": "Page-Fault Exceptions",
  "sdm 4.8": "Accessed and Dirty Flags",
  "sdm 4.10.1": "Process-Context Identifiers (PCIDs)",
  "sdm 4.10.2.2": "Caching Translations in TLBs",
  "sdm 4.10.2.3": "Details of TLB Use",
  "sdm 4.10.4.1": "Operations that Invalidate TLBs and Paging-Structure Caches",
  "sdm 4.10.4.3": "Optional Invalidation",
  "sdm 6.15": "Exception and Interrupt Reference",
  "sdm 8.1.2.1": "Automatic Locking",
  "apm 5.5.3": "TLB Management",
} as const;
type Section = keyof typeof SECTIONS;

/**
 * What a rule rests on:
 *
 * - `text`: a sentence of the manual says it
 * - `inferred`: it follows from two sentences
 * - `practice`: no sentence says it, but CPUs and their test suites have it
 * - `newer`: text of editions after the one that is cited
 */
export type RuleBasis = "text" | "inferred" | "practice" | "newer";

/** In the words of a report. */
export const BASIS_WORDS: Readonly<Record<RuleBasis, string>> = {
  text: "the manual's text",
  inferred: "inferred from the manual's text",
  practice: "hardware practice, not the manual's text",
  newer: "the text of newer editions",
};

/** A rule: what it says, where the manual has it by edition, section and title, and what it rests on. */
export interface Rule {
  readonly says: string;
  /** Empty for a rule of the pack itself. */
  readonly where: string;
  readonly basis: RuleBasis;
}

function rule(says: string, sections: readonly Section[], basis: RuleBasis = "text"): Rule {
  const cited = sections.map((section) => {
    const [edition = "", number = ""] = section.split(" ");
    return { edition: EDITIONS[edition as keyof typeof EDITIONS], text: `${number} ${SECTIONS[section]}` };
  });
  const editions = [...new Set(cited.map(({ edition }) => edition))];
  const where = editions.map((one) => {
    const texts = cited.filter(({ edition }) => edition === one).map(({ text }) => text);
    return `${one}, ${texts.join("; ")}`;
  });
  return { says, where: where.join("; "), basis };
}

/** The rules that decide a step, in the words of a report, with the section of the manual that has them. */
export const RULES = {
  translate: rule("no entry on the way and no right forbids the access", ["sdm 4.5", "sdm 4.6.1"]),
  canonical: rule("every byte's address must be canonical before anything is walked; else #GP(0)", [
    "sdm1 3.3.7.1",
  ]),
  "canonical-stack": rule("a non-canonical address through SS raises #SS(0)", ["sdm 6.15"]),
  "not-present": rule(
    "the walk goes down and ends at the first entry with P=0: error-code bit P is 0, no right is judged",
    ["sdm 4.7"],
  ),
  reserved: rule(
    "the walk goes down and ends at the first present entry with a reserved bit set: P=1 and RSVD=1",
    ["sdm 4.5", "sdm 4.7"],
  ),
  "user-page": rule("a user access needs U/S=1 in every entry of the walk", ["sdm 4.6.1"]),
  "user-write": rule("a user write needs R/W=1 in every entry of the walk, whatever CR0.WP is", [
    "sdm 4.6.1",
  ]),
  "supervisor-write": rule("with CR0.WP=1 a supervisor write needs R/W=1 in every entry of the walk", [
    "sdm 4.6.1",
  ]),
  xd: rule("with EFER.NXE=1 a fetch needs XD=0 in every entry of the walk", ["sdm 4.6.1"]),
  smep: rule("with CR4.SMEP=1 the supervisor does not fetch from user pages", ["sdm 4.6.1"]),
  smap: rule("with CR4.SMAP=1 the supervisor reads and writes user pages only while RFLAGS.AC=1", [
    "sdm 4.6.1",
  ]),
  "smap-implicit": rule("RFLAGS.AC does not lift SMAP for accesses that the CPU makes itself", ["sdm 4.6.1"]),
  pkru: rule("PKRU guards pages with U/S=1 in every entry, against user and supervisor data accesses", [
    "sdm 4.6.2",
  ]),
  pkrs: rule("IA32_PKRS guards supervisor pages against data accesses", ["sdm 4.6.2"], "newer"),
  "shadow-stack": rule(
    "a shadow-stack access needs R/W=1 above the leaf, R/W=0 and D=1 in it, and a page of its own mode",
    ["sdm 4.6.1"],
    "newer",
  ),
  "cached-rights": rule("rights may come from the TLB; WP, AC, PKRU and CPL count at each use", [
    "sdm 4.10.2.2",
  ]),
  "cached-translation": rule(
    "until an invalidation the old translation may be used; nothing obliges a CPU to have it",
    ["sdm 4.10.2.3"],
  ),
  "dirty-again": rule(
    "a write through a cached translation with D=0 sets D in the entry as it is now, or faults on it",
    ["sdm 4.8", "sdm 4.10.2.2"],
    "inferred",
  ),
  "not-cached": rule("an entry with P=0 is never cached: setting P needs no invalidation", [
    "sdm 4.10.2.3",
    "sdm 4.10.4.3",
  ]),
  confirmed: rule(
    "no fault from a cached entry: what is cached for the page is dropped, and the walk of memory counts",
    ["apm 5.5.3"],
  ),
  "control-flush": rule("this write of CR4 drops the translations, global ones too", [
    "sdm 4.10.4.1",
    "apm 5.5.3",
  ]),
  pcid: rule("a translation serves the PCID it was made under, unless it is global", ["sdm 4.10.1"]),
  "mov-cr3": rule("MOV to CR3 without bit 63 drops the new PCID's translations that are not global", [
    "sdm 4.10.4.1",
  ]),
  invlpg: rule("INVLPG drops the page's translations, global ones too, and never faults on its address", [
    "sdm 4.10.4.1",
  ]),
  invpcid: rule(
    "INVPCID 0 and 1 fault on a PCID other than 0 without CR4.PCIDE, 0 also on a non-canonical address",
    ["sdm2 INVPCID"],
  ),
  control: rule("this write to a control register is legal, or not, as expected", ["sdm 2.5", "sdm 4.10.1"]),
  store: rule("a store to physical memory by somebody else never faults", []),
} as const satisfies Record<string, Rule>;

/** Name of a rule for a step. */
export type RuleName = keyof typeof RULES;

/** Rules for the words of memory after a case. */
export const AFTER_RULES = {
  accessed: rule("A is set in every entry of a walk that succeeds, and in no other", ["sdm 4.8"]),
  "accessed-reserved": rule(
    "an entry with a reserved bit is neither a table's nor a page's, and A is set in entries that are used",
    ["sdm 4.5", "sdm 4.8"],
    "inferred",
  ),
  "accessed-denied": rule(
    "a fault by a right leaves A and D of the entry that maps the page alone",
    ["sdm 4.8"],
    "practice",
  ),
  dirty: rule("D is set by a write that succeeds, in the entry that maps the page, and by nothing else", [
    "sdm 4.8",
  ]),
  unchanged: rule("a walk changes nothing but A and D, and an access that faults stores nothing", [
    "sdm 4.8",
    "sdm 6.15",
  ]),
} as const satisfies Record<string, Rule>;

/** Name of a rule for a word of memory. */
export type AfterRuleName = keyof typeof AFTER_RULES;

/** Rules for single bits of an error code, and for what else an answer says of a page fault. */
export const ANSWER_RULES = {
  error: rule("each bit of a page fault's error code has one meaning, whatever the cause of the fault", [
    "sdm 4.7",
  ]),
  "error-rmw": rule(
    "a read-modify-write is checked as a write, and its faults say so",
    ["sdm 4.7", "sdm 8.1.2.1"],
    "practice",
  ),
  cr2: rule("CR2 is the linear address of the first byte that could not be accessed", ["sdm 6.15"]),
  across: rule(
    "of an access to two pages the lower is judged first, and CR2 is where the one that faulted begins",
    ["sdm 6.15"],
    "practice",
  ),
  protocol: rule("an answer is as docs/conformance.md says, in time, for what the greeting declares", []),
} as const satisfies Record<string, Rule>;

/** Whether a word is the name of a rule. */
export function isRule(name: string): name is RuleName {
  return Object.hasOwn(RULES, name);
}
