import { Auditor } from "../../../src/audit/auditor.ts";
import { importScan } from "../../../src/guest/import-kernel.ts";
import { attachListeners, type ListenerKind } from "../../../src/jobs/reclaim/listeners.ts";
import { ReclaimJob } from "../../../src/jobs/reclaim/reclaim-job.ts";
import type { Kernel } from "../../../src/mm/mm_types.ts";
import { realScan } from "../../support/guests.ts";

export interface GuestRunOptions {
  readonly protocol: string;
  readonly listeners: readonly ListenerKind[];
  /** Every so-manieth page that the guest maps. */
  readonly oneIn: number;
  /** Called when everything is in place. */
  readonly begin?: (kernel: Kernel) => void;
  readonly judged?: boolean;
}

/** Runs reclaim over some pages of a real guest; returns the live auditor, finished. */
export function guestRun({
  protocol,
  listeners,
  oneIn,
  begin,
  judged = true,
}: GuestRunOptions): Auditor | null {
  const imported = importScan(realScan("guest-a1"), { cpus: 3, notifiers: protocol });
  const { kernel, mms } = imported;
  const attached = new Map([...mms.values()].map((mm) => [mm, attachListeners(mm, listeners)]));
  const auditor = judged ? new Auditor(kernel) : null;
  begin?.(kernel);
  const pages = imported.keptPages
    .filter((_, i) => i % oneIn === 0)
    .map((page) => {
      const mappings = imported.mappingsOf(page);
      const frames = new Set(
        mappings.flatMap(({ pfn, level }) => Array.from({ length: 512 ** (level - 1) }, (_, i) => pfn + i)),
      );
      return { page, frames: frames.size, mappings };
    });
  new ReclaimJob(kernel, { pages, listeners: attached, seed: 7 }).run();
  auditor?.finish();
  return auditor;
}
