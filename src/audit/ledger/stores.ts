import { PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { Contexts } from "./contexts.ts";
import type { Debt } from "./debt.ts";
import type { Debts } from "./debts.ts";
import { type Guest, type Listeners, type Spte, spteAt } from "./listeners.ts";
import type { Pages } from "./pages.ts";

/** What a store may touch of what is known. */
interface Known {
  readonly pages: Pages;
  readonly contexts: Contexts;
  readonly debts: Debts;
  readonly listeners: Listeners;
}

/** An access of a CPU: a store makes the frame newer than its copy on disk. */
export function accessed(l: Known, record: TraceRecordOf<"access">): void {
  const { access, physical, agent, cpu, seq } = record;
  if (access !== "write" && access !== "shadow-write") return;
  const pfn = Math.floor(physical / PAGE_SIZE);
  if (l.pages.newer.has(pfn)) return;
  const linear = linearNumber(record.linearLo, record.linearHi);
  const { current, global } = l.contexts.cpu(cpu);
  const through = l.debts.debtOn(pfn, current) ?? l.debts.debtOn(pfn, global);
  l.pages.stored(pfn, { agent, cpu, seq, linear, through });
}

/** The same of a guest, or of a device. */
export function stored(l: Known, record: TraceRecordOf<"guest-access" | "device-access">): void {
  if (!record.write) return;
  const { pfn, agent, cpu, seq, listener } = record;
  const linear = linearNumber(record.linearLo, record.linearHi);
  const guest = record.kind === "guest-access" ? l.listeners.guest(listener) : null;
  if (guest !== null) l.listeners.stored(guest, linear);
  if (l.pages.newer.has(pfn)) return;
  l.pages.stored(pfn, { agent, cpu, seq, linear, through: staleAt(l, pfn, linear, listener, guest) });
}

/** The stale translation by which a guest or a device has reached a frame, null if it was not stale. */
function staleAt(
  l: Known,
  pfn: number,
  linear: number,
  listener: number,
  guest: Guest | null,
): Debt | Spte | null {
  if (guest !== null) {
    const spte = spteAt(guest, linear);
    return spte === undefined || spte.hostChange === null ? null : spte;
  }
  const device = l.contexts.device(listener);
  return device === undefined ? null : l.debts.debtOn(pfn, device);
}
