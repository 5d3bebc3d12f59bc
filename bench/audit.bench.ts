import { readGuestDirectory } from "../src/formats/guest-snapshot.ts";
import { auditGuest } from "../src/jobs/reclaim/audit-report.ts";

const SAMPLE = new URL("../src/samples/guest-a1", import.meta.url).pathname;

/** Reading, importing, the full truth check and one protocol's audit of the bundled guest, once, cold. */
export default async function auditBench(): Promise<void> {
  console.log("\nthe bundled guest, one protocol, cold");
  const begin = performance.now();
  const report = auditGuest(readGuestDirectory(SAMPLE), {
    snapshot: "sample",
    protocols: ["c"],
    listeners: ["kvm", "iommu"],
    cpus: 4,
    tlb: "stale",
    seed: 1,
    shuffle: false,
  });
  const seconds = (performance.now() - begin) / 1000;
  const peak = process.resourceUsage().maxRSS / 1024;
  console.log(`  import, truth and audit: ${seconds.toFixed(2)} s, peak ${peak.toFixed(0)} MiB`);
  console.log(`  ${report.runs[0]?.freed ?? 0} frames freed`);
}
