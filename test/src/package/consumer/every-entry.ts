/** Something of every entry, the one that needs Node among them. It prints one line for each. */
import { Auditor, explainRule, explainText, RULES } from "ptescope/audit";
import { GROUPS, runConform, SelfSubject, selectCases, totalOf } from "ptescope/conform";
import { cpuModel, DEFAULT_CPU_MODEL, Entry, Machine } from "ptescope/cpu";
import { FormatError, readGuestDirectory } from "ptescope/files";
import { decodeEntry, type LinuxReading } from "ptescope/inspect";
import { Kernel, PteFormat, pteLayout } from "ptescope/linux";

const machine = new Machine({ memory: "16MiB" });
const auditor = new Auditor(new Kernel(machine));
console.log(`cpu ${cpuModel(DEFAULT_CPU_MODEL).name === machine.cpu(0).control.model.name}`);
console.log(`audit ${RULES.length} rules, ${auditor.finish().length} findings`);
console.log(explainText(explainRule(2)).split("\n")[0]);

const formats = [new PteFormat(pteLayout("linux-4.13"))];
const decoded = decodeEntry(new Entry(0x1234_5867, 0), "pte", 4, cpuModel(DEFAULT_CPU_MODEL), formats);
const readings: readonly LinuxReading[] = decoded.kernels.map(({ linux }) => linux);
console.log(`inspect ${readings.length} reading`);

const cases = selectCases({ groups: GROUPS, sample: 2, seed: 1 });
const { matched, mismatched } = totalOf(await runConform(new SelfSubject(), cases, 1, () => {}));
console.log(`conform ${matched > 0}, ${mismatched} mismatches`);

try {
  readGuestDirectory("no-such-directory");
} catch (error) {
  console.log(`files ${error instanceof FormatError}`);
}
