import { PAGE_SIZE } from "../../../arch/x86/cpu/address.ts";
import { linearNumber } from "../../../arch/x86/cpu/linear-address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { Debt } from "./debts.ts";
import type { Ledger } from "./ledger.ts";
import { type Guest, type Spte, spteAt } from "./listeners.ts";

/** An access of a CPU: a store makes the frame newer than its copy on disk. */
export function accessed(l: Ledger, record: TraceRecordOf<"access">): void {
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
export function stored(l: Ledger, record: TraceRecordOf<"guest-access" | "device-access">): void {
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
  l: Ledger,
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
