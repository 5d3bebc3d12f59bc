/**
 * A system that is no Linux, on the bare machine: it says itself which frames it gives to another use. It prints what
 * the auditor finds, live and in the recording, and the story of the frame.
 */
import { Auditor, judgeRecords, Recorder, readRecords, storyOf } from "ptescope/audit";
import { Linear, Machine, PAGE_SIZE, Pfn, Slot } from "ptescope/cpu";

const USER = 0x67;
const ROOT = 0x10;
const PAGE = 0x20;
const at = Linear.of(0x1000);

const machine = new Machine({ memory: "1MiB", cpus: 1 });
const cpu = machine.cpu(0);
const slotOf = (level: number) => Slot.of((ROOT + 4 - level) * PAGE_SIZE + (level === 1 ? 8 : 0));
for (const level of [4, 3, 2]) machine.storeEntry(slotOf(level), ((ROOT + 5 - level) << 12) | USER, 0, 0);
machine.storeEntry(slotOf(1), (PAGE << 12) | USER, 0, 0);
cpu.loadCr3(ROOT * PAGE_SIZE);

const chunks: Uint8Array[] = [];
const recorder = new Recorder(machine, (bytes) => chunks.push(bytes));
const auditor = new Auditor(machine);
cpu.store(at, 42);
machine.storeEntry(slotOf(1), 0, 0, 0);
auditor.pageFreed(Pfn.of(PAGE));
cpu.invlpg(at);
machine.storeEntry(slotOf(2), 0, 0, 0);
auditor.tableFreed(Pfn.of(ROOT + 3));
recorder.stop();
auditor.finish();

for (const { rule, pfn } of auditor.findings) console.log(`${rule.id} frame ${pfn}`);
const judged = judgeRecords(chunks, (run) => new Auditor(run));
console.log(`${judged.findings.length} in the recording`);
const recording = readRecords(chunks);
for (const { text } of storyOf(recording, recording, PAGE).lines) console.log(text);
