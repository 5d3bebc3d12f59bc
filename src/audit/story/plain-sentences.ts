import { NONE, PAGE_SIZE, type Slot } from "../../../arch/x86/cpu/address.ts";
import { frameOf } from "../../../arch/x86/cpu/entry.ts";
import { hex } from "../../text/hex.ts";
import type { RecordKind, TraceRecord, TraceRecordOf } from "../../trace/record.ts";
import { cpusInWords } from "../describe.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { addressOf, PRESENT } from "../ledger/translation.ts";
import { ACCESS_VERBS, addressWords, entryWords, FLAG_WORDS, rangeWords } from "./record-words.ts";

type Tellers = { readonly [K in RecordKind]: (record: TraceRecordOf<K>, l: Ledger) => string };

/** One sentence for each kind, whatever it is about: for stories without a frame, and for records that decide one. */
const TELLERS: Tellers = {
  "entry-written": (record, l) => entrySentence(record, l, ""),
  "accessed-dirty-set": (record, l) => entrySentence(record, l, "'s walker"),
  "tlb-filled": ({ cpu, linearLo, linearHi, pfn }) =>
    `CPU ${cpu} caches that ${addressWords(linearLo, linearHi)} is frame ${hex(pfn)}`,
  "cr3-loaded": ({ cpu, root, pcid, keep }, l) => {
    const space = l.spaces.ofRoot(root);
    const whose = space === null ? `the root ${hex(root)}` : `the root of ${spaceName(l, space.id)}`;
    const tagged = pcid === 0 ? "" : `, PCID ${pcid}`;
    return `CPU ${cpu} loads ${whose}${tagged}${keep ? ", and keeps what the PCID has cached" : ""}`;
  },
  "register-loaded": ({ cpu, register }) => `CPU ${cpu} loads ${register}`,
  invalidated: ({ cpu, cause, all, linearLo, linearHi }) =>
    `CPU ${cpu} drops ${all ? "all that it may" : addressWords(linearLo, linearHi)} (${cause})`,
  access: ({ cpu, access, linearLo, linearHi, hit }) =>
    `CPU ${cpu} ${ACCESS_VERBS[access]} ${addressWords(linearLo, linearHi)}${hit ? " through its TLB" : ""}`,
  fault: ({ cpu, fault, linearLo, linearHi }) =>
    `CPU ${cpu} faults at ${addressWords(linearLo, linearHi)} (${fault})`,
  "ipi-sent": ({ cpu, to }) => `CPU ${cpu} interrupts CPU ${to}`,
  "interrupt-taken": ({ cpu }) => `CPU ${cpu} takes an interrupt`,
  "ipi-handled": ({ cpu, from }) => `CPU ${cpu} has done what CPU ${from} asked for`,
  "privilege-changed": ({ cpu, cpl }) => `CPU ${cpu} runs at privilege level ${cpl}`,
  halted: ({ cpu }) => `CPU ${cpu} waits for an interrupt`,
  gap: ({ lost }) => `${lost} records are lost`,
  "agent-introduced": ({ type }) => `somebody new may act: ${type}`,
  named: ({ subject, name }) => `a name for ${subject === "agent" ? "an" : "a"} ${subject}: ${name}`,
  "table-linked": ({ pfn, level }) => `frame ${hex(pfn)} becomes a page table of level ${level}`,
  "table-unlinked": ({ pfn }) => `the page table at frame ${hex(pfn)} is linked no more`,
  "flush-begun": ({ space, all, linearLo, linearHi, bytes, cpus }, l) => {
    const where = cpusInWords(cpus) || "no CPU";
    if (space === NONE) return `what was put off is flushed on ${where}`;
    const what = all ? "everything" : rangeWords(linearLo, linearHi, bytes);
    return `flush of ${what}${inSpace(l, space)} on ${where}`;
  },
  "flush-ended": () => "the flush is over",
  "batch-added": ({ dirty }) => `the flush is put off${dirty ? ", the entry was dirty" : ""}`,
  "cpumask-changed": ({ space, cpus }, l) =>
    `mm_cpumask of ${spaceName(l, space)}: ${cpusInWords(cpus) || "no CPU"}`,
  "lazy-entered": ({ cpu, space }, l) => `CPU ${cpu} only borrows ${spaceName(l, space)} from now on`,
  "lazy-left": ({ cpu, space }, l) => `CPU ${cpu} uses ${spaceName(l, space)} again`,
  "cache-flushed": ({ hook, linearLo, linearHi, bytes, all }) =>
    `${hook}${all || bytes === 0 ? "" : ` ${rangeWords(linearLo, linearHi, bytes)}`}`,
  "mmu-cache-updated": ({ linearLo, linearHi }) => `update_mmu_cache ${addressWords(linearLo, linearHi)}`,
  "bad-pmd": () => "a pmd that should lead to a table does not, and is cleared",
  primitive: ({ name }) => name,
  "address-space-created": ({ space }, l) => `${spaceName(l, space)} comes to be`,
  "address-space-ended": ({ space }, l) => `${spaceName(l, space)} is gone`,
  "task-runs": ({ agent, cpu }, l) => `${l.spaces.nameOf("agent", agent)} runs on CPU ${cpu}`,
  "call-entered": ({ function: name, space }, l) => `${name}${inSpace(l, space)}`,
  "call-left": ({ function: name, space, result }, l) => `${name}${inSpace(l, space)} returns ${result}`,
  "call-abandoned": ({ function: name, space }, l) => `${name}${inSpace(l, space)} never returns`,
  "page-allocated": ({ pfn }) => `frame ${hex(pfn)} is allocated`,
  "page-freed": ({ pfn }) => `frame ${hex(pfn)} is freed`,
  "page-compound": ({ pfn, order }) => `${2 ** order} frames from ${hex(pfn)} become one page`,
  "page-backing": ({ pfn, backing }) => `frame ${hex(pfn)} is a copy of: ${backing}`,
  "page-flag": ({ pfn, flag, set }) => `frame ${hex(pfn)} ${set ? "is" : "is no more"} ${FLAG_WORDS[flag]}`,
  "swap-slot": ({ pfn, swap }) =>
    swap === NONE
      ? `frame ${hex(pfn)} has no slot of swap any more`
      : `frame ${hex(pfn)} has swap slot ${swap}`,
  "swap-count": ({ swap, count }) => `${count} entries refer to swap slot ${swap}`,
  "swap-duplicated": ({ swap, ok }) =>
    ok ? `one more entry refers to swap slot ${swap}` : `no more entries may refer to swap slot ${swap}`,
  "table-freed": ({ pfn }) => `frame ${hex(pfn)} is a page table no more, and given away`,
  "lock-taken": (record) => `${lockName(record)} is taken`,
  "lock-dropped": (record) => `${lockName(record)} is dropped`,
  "walk-returned": ({ found, locks }) =>
    `page_vma_mapped_walk returns ${found ? "a hit" : "the end"}, ${locks} lock${locks === 1 ? "" : "s"} held`,
  "listener-registered": ({ space }, l) => `a listener registers with ${spaceName(l, space)}`,
  "listener-unregistered": ({ listener }, l) => `${l.spaces.nameOf("listener", listener)} listens no more`,
  "notifier-called": ({ op, all, linearLo, linearHi, bytes }) =>
    `mmu_notifier_${op}${all ? "" : ` ${rangeWords(linearLo, linearHi, bytes)}`}`,
  "listener-called": ({ listener, op, maySleep, locks }, l) => {
    const sleeps = maySleep ? ", which may sleep" : "";
    const under =
      locks === 0 ? "" : `, under ${locks === 1 ? "a page-table lock" : `${locks} page-table locks`}`;
    return `${op} of ${l.spaces.nameOf("listener", listener)}${sleeps}${under}`;
  },
  "page-pinned": ({ pfn }) => `frame ${hex(pfn)} is pinned`,
  "page-unpinned": ({ pfn }) => `frame ${hex(pfn)} is pinned no more`,
  "vma-changed": ({ linearLo, linearHi, bytes, flags }) =>
    `the vma ${rangeWords(linearLo, linearHi, bytes)} ${flags === 0 ? "is gone" : "is there"}`,
  "rmap-added": ({ pfn, mapcount }) => `one more mapping of frame ${hex(pfn)} is counted: ${mapcount}`,
  "rmap-removed": ({ pfn, mapcount }) => `a mapping of frame ${hex(pfn)} is discounted: ${mapcount} left`,
  "page-put": ({ pfn, refcount }) => `a reference to frame ${hex(pfn)} is dropped: ${refcount} left`,
  "page-mlocked": ({ pfn }) => `frame ${hex(pfn)} is found in a locked vma`,
  "swapbacked-set": ({ pfn }) => `frame ${hex(pfn)} was to be discarded and is dirty`,
  "rss-changed": ({ space, delta }, l) => `a counter of ${spaceName(l, space)} changes by ${delta}`,
  warned: ({ what }) => `the kernel warns: ${what}`,
  "bad-page": ({ pfn }) => `frame ${hex(pfn)} is freed with mappings or references left`,
  "write-out": ({ pfn }) => `frame ${hex(pfn)} is written out`,
  "spte-installed": ({ listener, pfn }, l) =>
    `${l.spaces.nameOf("listener", listener)} installs an spte of frame ${hex(pfn)}`,
  "spte-dropped": ({ listener, pfn }, l) =>
    `${l.spaces.nameOf("listener", listener)} drops its spte of frame ${hex(pfn)}`,
  "guest-access": (record, l) => accessSentence(record, l, "guest"),
  "guest-fault-retried": ({ listener, linearLo, linearHi }, l) =>
    `${l.spaces.nameOf("listener", listener)}: the guest's fault at ${addressWords(linearLo, linearHi)} is retried`,
  "kvm-counters": ({ listener, notifierSeq, notifierCount }, l) =>
    `${l.spaces.nameOf("listener", listener)}: mmu_notifier_seq ${notifierSeq}, mmu_notifier_count ${notifierCount}`,
  "device-entry-installed": ({ listener, linearLo, linearHi, pfn }, l) =>
    `${l.spaces.nameOf("listener", listener)} caches that ${addressWords(linearLo, linearHi)} is frame ${hex(pfn)}`,
  "device-entry-dropped": ({ listener, all, linearLo, linearHi, bytes }, l) =>
    `${l.spaces.nameOf("listener", listener)} drops ${all ? "everything" : rangeWords(linearLo, linearHi, bytes)}`,
  "device-access": (record, l) => accessSentence(record, l, "device"),
};

/** What the record says, by itself. */
export function plainSentenceOf(record: TraceRecord, l: Ledger): string {
  const tell = TELLERS[record.kind] as (record: TraceRecord, l: Ledger) => string;
  return tell(record, l);
}

function entrySentence(
  { agent, cpu, slot, oldLo, oldHi, entryLo, entryHi }: TraceRecordOf<"entry-written" | "accessed-dirty-set">,
  l: Ledger,
  walker: string,
): string {
  const by = cpu === NONE ? l.spaces.nameOf("agent", agent) : `CPU ${cpu}`;
  const change = `${entryWords(oldLo, oldHi)} -> ${entryWords(entryLo, entryHi)}`;
  const frame = (entryLo & PRESENT) === 0 ? "" : `, frame ${hex(frameOf(entryLo, entryHi))}`;
  return `${by}${walker}: entry ${placeOf(slot, l)} ${change}${frame}`;
}

/** The address that an entry is for; of one in a table that nobody watches, where it stands. */
function placeOf(slot: Slot, l: Ledger): string {
  const [use] = l.tables.usesOf(Math.floor(slot / PAGE_SIZE));
  return use === undefined ? `at physical ${hex(slot)}` : `of ${hex(addressOf(use, slot))}`;
}

function accessSentence(
  { listener, linearLo, linearHi, write }: TraceRecordOf<"guest-access" | "device-access">,
  l: Ledger,
  who: string,
): string {
  const verb = write ? "writes" : "reads";
  return `${l.spaces.nameOf("listener", listener)}: ${who} ${verb} ${addressWords(linearLo, linearHi)}`;
}

const LOCK_WORDS = {
  pte: "the lock of the page table",
  pmd: "the lock of the pmd table",
  mm: "page_table_lock",
  page: "the lock of the page",
  rwsem: "a semaphore",
} as const;

function lockName({ lockClass, pfn }: TraceRecordOf<"lock-taken" | "lock-dropped">): string {
  const what = LOCK_WORDS[lockClass];
  return pfn < 0 ? what : `${what} at frame ${hex(pfn)}`;
}

function inSpace(l: Ledger, space: number): string {
  return space === NONE ? "" : ` in ${spaceName(l, space)}`;
}

function spaceName(l: Ledger, space: number): string {
  return l.spaces.nameOf("space", space);
}
