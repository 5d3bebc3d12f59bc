import { readGuestDirectory } from "../src/formats/guest-snapshot.ts";
import { type AuditReport, auditGuest } from "../src/jobs/reclaim/audit-report.ts";
import { cpuSeconds } from "./cpu-seconds.ts";

const SAMPLE = new URL("../src/samples/guest-a1", import.meta.url).pathname;

/** Reading the bundled guest, the full truth check, and import, job and audit under every protocol, once, cold. */
export default async function auditBench(): Promise<void> {
  console.log("\nthe bundled guest, the whole job, cold");
  let report: AuditReport | undefined;
  const seconds = cpuSeconds(() => {
    report = auditGuest(readGuestDirectory(SAMPLE), {
      snapshot: "sample",
      protocols: ["a0", "b", "c", "d", "e1"],
      listeners: ["kvm", "iommu"],
      cpus: 4,
      tlb: "stale",
      seed: 1,
      shuffle: false,
    });
  });
  const peak = process.resourceUsage().maxRSS / 1024;
  const runs = report!.runs.map(({ protocol, freed }) => `${protocol} ${freed}`);
  console.log(
    `  ${seconds.toFixed(2)} CPU seconds, peak ${peak.toFixed(0)} MiB; freed frames: ${runs.join(", ")}`,
  );
}
