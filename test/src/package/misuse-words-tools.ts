import { DirectMap } from "../../../src/inspect/direct-map.ts";
import * as audit from "../../../src/package/audit.ts";
import * as conform from "../../../src/package/conform.ts";
import * as cpu from "../../../src/package/cpu.ts";
import * as inspect from "../../../src/package/inspect.ts";
import * as linux from "../../../src/package/linux.ts";
import { type System, type Word, word } from "./misuse-words.ts";

/* The words of calls of the auditor, of inspection and of the conformance pack. */

/** A recording of a page that is freed while a CPU can still write it. */
function record({ kernel, machine, mm, page, at }: System): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const recorder = new audit.Recorder(kernel, (bytes) => chunks.push(bytes));
  linux.switch_mm(kernel, 1, mm);
  machine.cpu(1).store(at, 42);
  linux.free_page(kernel, page);
  recorder.stop();
  return chunks;
}

function judged(s: System): audit.Auditor {
  return audit.judgeRecords(record(s), (run) => new audit.Auditor(run)).judge;
}

function findingOf(s: System): audit.Finding {
  return judged(s).findings[0]!;
}

function runOf(s: System): audit.RecordedRun {
  const recording = audit.readRecords(record(s));
  return { world: recording.world, opening: recording.opening };
}

const reach = { roots: [], kernel: true };
const leaf = (s: System) => ({
  reach,
  page: s.at,
  level: 1,
  slot: s.slot,
  pfn: s.page,
  rights: 0x6,
  protNone: false,
});
const change = (s: System) => ({
  site: "try_to_unmap_one",
  primitive: "",
  seq: 1,
  leaf: leaf(s),
  debts: [],
  deferred: false,
  told: null,
  missed: null,
});
const context = { cpu: 0, listener: -1 };
const guest = {
  id: 1,
  space: 1,
  type: "kvm",
  ops: new Set<string>(),
  small: new Map(),
  large: new Map(),
  openRanges: [],
  openBefore: 0,
  seq: 0,
  seqDue: false,
};
const spte = (s: System) => ({
  guest,
  gfn: 1,
  hva: s.at,
  level: 1,
  pfn: s.page,
  writable: true,
  dirty: false,
  hostChange: null,
  freed: null,
});
const ledger = (s: System) => new audit.Ledger(new audit.LiveWorld(s.machine, s.kernel.format));
const storyOf = (s: System) => {
  const recording = audit.readRecords(record(s));
  return audit.storyOf(recording, recording, s.page);
};

function decoded({ machine, kernel }: System): inspect.DecodedEntry {
  const { layout } = machine.cpu(0).control;
  return inspect.decodeEntry(new cpu.Entry(0x1067, 0), "pte", 4, layout, [kernel.format]);
}

const cursor = ({ machine, mm }: System) => new inspect.LeafCursor(machine.memory, mm.pgd, 4);
const source = ({ machine, kernel, mm }: System) => {
  const { control } = machine.cpu(0);
  control.setRoot(mm.pgd, 0);
  return { memory: machine.memory, control, pteFormat: kernel.format, holds: () => true };
};
const access = { kind: 0, mode: 0 } as const;
const report = (s: System) => inspect.walkReport(source(s), BigInt(s.at), access);
const oops = () =>
  inspect.parseOops(
    "BUG: unable to handle page fault for address: 00007f0000200000\nPGD 1067 P4D 1067 PUD 0",
  );
const explained = (s: System) =>
  inspect.explainOops(oops(), s.machine.cpu(0).control, s.kernel.format, null, new Set());
const ranges = (s: System) => [...inspect.foldLeaves(cursor(s))];
const sampleCase = () => conform.factCase(conform.ACCESS_FACTS[0]!);
const group = () => conform.GROUPS[0]!;
const refuse = (expected: string) => new Error(expected);
const greeting = JSON.stringify({
  format: conform.CONFORM_FORMAT,
  version: conform.CONFORM_VERSION,
  name: "x",
});
const result = () => ({
  subject: "x",
  skip: null,
  groups: [],
  causes: [],
  failures: [],
  mismatches: [],
  reasons: new Map(),
  ended: null,
  notes: [],
});

/** The words, by name. */
export const TOOL_WORDS: Readonly<Record<string, Word>> = {
  ledger: word(ledger),
  leaf: word(leaf),
  change: word(change),
  changes: word((s) => [change(s)]),
  debt: word((s) => ({ context, change: change(s), rights: 0x6, pfn: s.page, level: 1 })),
  holder: word(() => context),
  guest: word(() => guest),
  spte: word(spte),
  tableUse: word(() => ({ reach, base: 0, level: 1, allow: 0xe })),
  finding: word(findingOf),
  findings: word((s) => judged(s).findings),
  cause: word((s) => judged(s).causes[0]),
  owed: word((s) => findingOf(s).owed),
  range: word(() => ({ start: 0x1000, length: 0x1000 })),
  recordedRange: word(() => ({ linearLo: 0x1000, linearHi: 0, bytes: 0x1000, all: false })),
  ruleId: word(() => 1),
  ruleRow: word(() => ({
    id: "X1",
    title: "title",
    when: "when",
    source: "source",
    subjects: () => {},
    broken: () => false,
    breach: () => null,
  })),
  width: word(() => 80),
  deadline: word(() => "the page is freed"),
  cpuId: word(() => 1),
  cpuWords: word(() => [2]),
  pageFreed: word((s) => ({ kind: "page-freed", pfn: s.page, order: 0 })),
  visit: word(() => () => {}),
  visitMap: word(() => new Map()),
  listenerId: word(() => 1),
  story: word(storyOf),
  run: word(runOf),
  records: word((s) => audit.readRecords(record(s))),
  chunks: word(record),
  judgeOf: word(() => (run: audit.JudgedRun) => new audit.Auditor(run)),
  form: word(() => "binary"),
  header: word((s) => audit.headerOf(s.machine)),
  sink: word(() => () => {}),
  fieldName: word(() => "slot"),
  world: word(({ machine }) => new audit.LiveWorld(machine)),
  ruleHead: word((s) => findingOf(s).rule),
  details: word(() => ({
    moment: "moment",
    agent: "CPU 0",
    space: -1,
    owed: audit.missing("flush_tlb_page"),
  })),

  decoded: word(decoded),
  fields: word((s) => decoded(s).fields),
  rulerFields: word((s) => inspect.hardwareColumns(decoded(s).fields)),
  fieldBits: word((s) => decoded(s).fields[0]),
  summary: word((s) =>
    inspect.summaryOf(decoded(s), { control: s.machine.cpu(0).control, marked: null, value: 0x1067n }),
  ),
  summaryContext: word((s) => ({ control: s.machine.cpu(0).control, marked: null, value: 0x1067n })),
  doubts: word((s) => inspect.doubtsOf(decoded(s), 46)),
  paint: word(() => inspect.plain),
  tone: word(() => "good"),
  pteFormat: word(({ kernel }) => kernel.format),
  pteFormats: word(({ kernel }) => [kernel.format]),
  linuxLevel: word(() => "pte"),
  reading: word((s) => decoded(s).kernels[0]!.linux),
  oops: word(oops),
  oopsReport: word(explained),
  known: word(() => new Set<string>()),
  walkReport: word(report),
  walkSource: word(source),
  walkAccess: word(() => access),
  walkedAccess: word(() => ({ lo: 0, hi: 0, kind: 0, mode: 0 })),
  addressValue: word((s) => BigInt(s.at)),
  root: word(({ mm }) => mm.pgd, { unaligned: 8 }),
  tableAddress: word(({ mm }) => mm.pgd, { unaligned: 8 }),
  leaves: word(cursor),
  pageLeaves: word((s) => {
    const leaves = cursor(s);
    leaves.next();
    return leaves;
  }),
  leafRange: word((s) => ranges(s)[0]),
  directMap: word(() => new DirectMap(0, [], true)),
  foldExtras: word(({ kernel }) => ({ absent: new inspect.AbsentReader(kernel.format) })),
  tableMemory: word(({ machine }) => machine.memory),
  explained: word(() => audit.explainRule(1)),
  leafRanges: word(ranges),
  pageCounts: word(() => new inspect.PageCounts()),
  pageNames: word(({ machine }) => ({ pat: machine.cpu(0).control.pat, mark: null, vmasUpTo: 0 })),
  counts: word(() => inspect.emptyCounts()),
  layoutName: word(() => "linux-4.13"),
  filterText: word(() => "w"),

  line: word(() => greeting),
  caseLine: word(() => JSON.stringify(conform.caseJson(sampleCase()))),
  answerLine: word(() => JSON.stringify({ id: sampleCase().id, unsupported: "no" })),
  refuse: word(() => refuse),
  question: word(sampleCase),
  case: word(sampleCase),
  cases: word(() => [sampleCase()]),
  jsonValue: word(() => ({ pa: 0 }), {
    legal: {
      "-1": "a value of JSON: what it says is judged by `refuse`",
      "1.5": "a value of JSON: what it says is judged by `refuse`",
      "2^53": "a value of JSON: what it says is judged by `refuse`",
    },
  }),
  id: word(() => "fact/1"),
  stepOutcome: word(() => ({ pa: 0 })),
  answer: word(() => ({ results: sampleCase().steps.map(() => null), after: null })),
  fact: word(() => conform.ACCESS_FACTS[0]),
  outcomeText: word(() => "done"),
  step: word(() => sampleCase().steps[0]),
  accessKind: word(() => "read"),
  features: word(() => ["la57"]),
  who: word(() => "user"),
  entryBits: word(() => ({ p: true })),
  switches: word(() => ({ smep: true })),
  registers: word(() => sampleCase().registers),
  words: word(() => conform.FIXTURE_WORDS),
  changedWords: word(() => [[conform.PTE, 0n]]),
  group: word(group),
  selection: word(() => ({ groups: [group()], sample: 1, seed: 1 })),
  conformResult: word(result),
  subject: word(() => new conform.SelfSubject()),
  show: word(() => 1),
  progress: word(() => () => {}),
};
