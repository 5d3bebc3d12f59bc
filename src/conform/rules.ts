/** The rules that decide a step, in the words of a report, with the section of the manual that has them. */
export const RULES = {
  translate: {
    says: "no entry on the way and no right forbids the access",
    where: "SDM vol. 3, 4.5 and 4.6",
  },
  canonical: {
    says: "every byte's address must be canonical before anything is walked; else #GP(0)",
    where: "SDM vol. 1, 3.3.7.1",
  },
  "canonical-stack": {
    says: "a non-canonical address through SS raises #SS(0)",
    where: "SDM vol. 3, 6.15, Interrupt 12",
  },
  "not-present": {
    says: "the walk goes down and ends at the first entry with P=0: error-code bit P is 0, no right is judged",
    where: "SDM vol. 3, 4.7",
  },
  reserved: {
    says: "the walk goes down and ends at the first present entry with a reserved bit set: P=1 and RSVD=1",
    where: "SDM vol. 3, 4.5 and 4.7",
  },
  "user-page": {
    says: "a user access needs U/S=1 in every entry of the walk",
    where: "SDM vol. 3, 4.6.1",
  },
  "user-write": {
    says: "a user write needs R/W=1 in every entry of the walk, whatever CR0.WP is",
    where: "SDM vol. 3, 4.6.1",
  },
  "supervisor-write": {
    says: "with CR0.WP=1 a supervisor write needs R/W=1 in every entry of the walk",
    where: "SDM vol. 3, 4.6.1",
  },
  xd: {
    says: "with EFER.NXE=1 a fetch needs XD=0 in every entry of the walk",
    where: "SDM vol. 3, 4.6.1",
  },
  smep: { says: "with CR4.SMEP=1 the supervisor does not fetch from user pages", where: "SDM vol. 3, 4.6.1" },
  smap: {
    says: "with CR4.SMAP=1 the supervisor reads and writes user pages only while RFLAGS.AC=1",
    where: "SDM vol. 3, 4.6.1",
  },
  "smap-implicit": {
    says: "RFLAGS.AC does not lift SMAP for accesses that the CPU makes itself",
    where: "SDM vol. 3, 4.6.1",
  },
  pkru: {
    says: "PKRU guards pages with U/S=1 in every entry, against user and supervisor data accesses",
    where: "SDM vol. 3, 4.6.2",
  },
  pkrs: {
    says: "IA32_PKRS guards supervisor pages against data accesses",
    where: "SDM vol. 3, 4.6.2",
  },
  "shadow-stack": {
    says: "a shadow-stack access needs R/W=1 above the leaf, R/W=0 and D=1 in it, and a page of its own mode",
    where: "SDM vol. 3, 4.6.1",
  },
  "cached-rights": {
    says: "rights may come from the TLB; WP, AC, PKRU and CPL count at each use",
    where: "SDM vol. 3, 4.10.2.2",
  },
  "cached-translation": {
    says: "until an invalidation the old translation may be used; nothing obliges a CPU to have it",
    where: "SDM vol. 3, 4.10.2.3",
  },
  "dirty-again": {
    says: "a write through a cached translation with D=0 sets D in the entry as it is now, or faults on it",
    where: "SDM vol. 3, 4.8 and 4.10.2.2",
  },
  "not-cached": {
    says: "an entry with P=0 is never cached: setting P needs no invalidation",
    where: "SDM vol. 3, 4.10.2.3",
  },
  confirmed: {
    says: "no fault from a cached entry: what is cached for the page is dropped, and the walk of memory counts",
    where: "APM vol. 2, 5.5.3",
  },
  "control-flush": {
    says: "this write of CR4 drops the translations, global ones too",
    where: "SDM vol. 3, 4.10.4.1; APM vol. 2, 5.5.3",
  },
  pcid: {
    says: "a translation serves the PCID it was made under, unless it is global",
    where: "SDM vol. 3, 4.10.1",
  },
  "mov-cr3": {
    says: "MOV to CR3 without bit 63 drops the new PCID's translations that are not global",
    where: "SDM vol. 3, 4.10.4.1",
  },
  invlpg: {
    says: "INVLPG drops the page's translations, global ones too, and never faults on its address",
    where: "SDM vol. 3, 4.10.4.1",
  },
  invpcid: {
    says: "INVPCID 0 and 1 fault on a PCID other than 0 without CR4.PCIDE, 0 also on a non-canonical address",
    where: "SDM vol. 2, INVPCID",
  },
  control: {
    says: "this write to a control register is legal, or not, as expected",
    where: "SDM vol. 3, 2.5 and 4.10.1",
  },
  store: { says: "a store to physical memory by somebody else never faults", where: "" },
} as const satisfies Record<string, { says: string; where: string }>;

/** Name of a rule for a step. */
export type RuleName = keyof typeof RULES;

/** Rules for the words of memory after a case. */
export const AFTER_RULES = {
  accessed: {
    says: "A is set in every entry of a walk that succeeds; a walk that faults leaves its last entry alone",
    where: "SDM vol. 3, 4.8",
  },
  dirty: {
    says: "D is set by a write that succeeds, in the entry that maps the page, and by nothing else",
    where: "SDM vol. 3, 4.8",
  },
  unchanged: {
    says: "a walk changes nothing but A and D, and an access that faults stores nothing",
    where: "SDM vol. 3, 4.8 and 6.15, Interrupt 14",
  },
} as const;

/** Name of a rule for a word of memory. */
export type AfterRuleName = keyof typeof AFTER_RULES;

/** Whether a word is the name of a rule. */
export function isRule(name: string): name is RuleName {
  return Object.hasOwn(RULES, name);
}
