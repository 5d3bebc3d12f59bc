import { Entry } from "./entry.ts";
import type { HardwareObserver } from "./events.ts";
import { linearExact, linearNumber } from "./linear-address.ts";
import type { Location } from "./memory-access.ts";
import { OFFSET_MASK, type WalkResult } from "./walk-result.ts";

/** One access inside a page: the words of its linear address, and where it went. */
export function reportAccess(
  observer: HardwareObserver,
  cpu: number,
  write: boolean,
  lo: number,
  hi: number,
  physical: number,
  tlbHit: boolean,
): void {
  observer({ type: "access", cpu, write, address: linearExact(lo, hi), physical, tlbHit });
}

/** An access of any place: one event for each page it touched. */
export function reportLocated(observer: HardwareObserver, cpu: number, write: boolean, at: Location): void {
  reportAccess(observer, cpu, write, at.lo, at.hi, at.first, at.firstHit);
  if (at.second >= 0) reportAccess(observer, cpu, write, at.nextLo, at.nextHi, at.second, at.secondHit);
}

/** A or D set by a walk of this CPU: the entry's address, its low word before and after, its high word. */
export function reportUpdate(
  observer: HardwareObserver,
  cpu: number,
  address: number,
  oldLo: number,
  newLo: number,
  hi: number,
): void {
  const old = new Entry(oldLo, hi);
  observer({ type: "accessed-dirty-set", address, old, value: new Entry(newLo, hi), cpu });
}

/** A successful walk went into the TLB. */
export function reportFill(observer: HardwareObserver, cpu: number, pcid: number, found: WalkResult): void {
  const { level, linearLo, linearHi, physical, dirty } = found;
  const offset = OFFSET_MASK[level] ?? 0;
  const page = linearNumber(linearLo & ~offset, linearHi);
  const pfn = (physical - (linearLo & offset)) / 4096;
  observer({ type: "tlb-filled", cpu, pcid, page, level, pfn, dirty });
}
