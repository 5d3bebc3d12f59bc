import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { Context } from "../ledger/contexts.ts";
import type { Ledger } from "../ledger/ledger.ts";
import { RIGHT_WRITE } from "../ledger/translation.ts";

/** Somebody who translates by tables or by copies of them. */
export interface Lane {
  /** "cpu 1", "listener 5". */
  readonly key: string;
  readonly name: string;
}

/** What a lane may hold of a frame. */
export interface Hold {
  readonly write: boolean;
  /** The tables do not say so any more. */
  readonly stale: boolean;
}

/** The lane of a CPU. */
export function cpuLane(cpu: number): Lane {
  return { key: `cpu ${cpu}`, name: `CPU ${cpu}` };
}

/** The lane of a listener. */
export function listenerLane(l: Ledger, listener: number): Lane {
  return { key: `listener ${listener}`, name: l.spaces.nameOf("listener", listener) };
}

function laneOf(l: Ledger, { cpu, listener }: Context): Lane {
  return cpu === NONE ? listenerLane(l, listener) : cpuLane(cpu);
}

/** Calls `visit` with everybody who may hold a translation to the frame now, once for each. */
export function holdingsOn(l: Ledger, pfn: number, visit: (lane: Lane, hold: Hold) => void): void {
  l.tables.leavesOn(pfn, (leaf) => {
    if (leaf.protNone) return;
    const hold = { write: (leaf.rights & RIGHT_WRITE) !== 0, stale: false };
    for (const context of l.contexts.reaching(leaf.reach)) {
      if (!context.isGlobal) visit(laneOf(l, context), hold);
    }
  });
  l.debts.byPfn.on(pfn, ({ context, rights }) => {
    visit(laneOf(l, context), { write: (rights & RIGHT_WRITE) !== 0, stale: true });
  });
  l.listeners.byPfn.on(pfn, ({ guest, writable, hostChange }) => {
    visit(listenerLane(l, guest.id), { write: writable, stale: hostChange !== null });
  });
  walkersOf(l, pfn, visit);
}

/** Of a frame that is a page table: who may walk it, by entries in place or by cached ones. */
function walkersOf(l: Ledger, pfn: number, visit: (lane: Lane, hold: Hold) => void): void {
  for (const { reach } of l.tables.usesOf(pfn)) {
    for (const context of l.contexts.reaching(reach)) {
      if (!context.isGlobal) visit(laneOf(l, context), { write: false, stale: false });
    }
  }
  for (const { context } of l.debts.byTable.get(pfn) ?? []) {
    visit(laneOf(l, context), { write: false, stale: true });
  }
}

/** The most that each lane may hold of the frame: a stale translation, one that writes, before others. */
export function holdingsOf(l: Ledger, pfn: number, meet: (lane: Lane) => void): ReadonlyMap<string, Hold> {
  const holds = new Map<string, Hold>();
  holdingsOn(l, pfn, (lane, hold) => {
    const known = holds.get(lane.key);
    if (known === undefined) {
      meet(lane);
      holds.set(lane.key, hold);
    } else {
      holds.set(lane.key, { write: known.write || hold.write, stale: known.stale || hold.stale });
    }
  });
  return holds;
}
