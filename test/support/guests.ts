import { join } from "node:path";
import { type GuestSnapshot, readGuestDirectory } from "../../src/formats/guest-snapshot.ts";
import { type GuestScan, scanGuest } from "../../src/guest/scan-guest.ts";

/** Where each real guest lies: the bundled sample is one of them. */
export const GUEST_DIRECTORIES = {
  "guest-a1": join(import.meta.dirname, "../../src/samples/guest-a1"),
  "guest-a2": join(import.meta.dirname, "../data/guest-a2"),
} as const;

export type GuestName = keyof typeof GUEST_DIRECTORIES;

const read = new Map<string, GuestSnapshot>();
const scanned = new Map<string, GuestScan>();

/** A real guest, read once by each worker that runs tests. */
export function realGuest(name: GuestName): GuestSnapshot {
  const guest = read.get(name) ?? readGuestDirectory(GUEST_DIRECTORIES[name]);
  read.set(name, guest);
  return guest;
}

/** What its tables say, found out once by each worker: every test builds its own kernel from it. */
export function realScan(name: GuestName): GuestScan {
  const scan = scanned.get(name) ?? scanGuest(realGuest(name));
  scanned.set(name, scan);
  return scan;
}

/** A copy of the guest in which one entry has other bits: what a damaged dump looks like. */
export function withEntry(
  guest: GuestSnapshot,
  slot: number,
  change: (entry: bigint) => bigint,
): GuestSnapshot {
  const segments = guest.core.segments.map((segment) => {
    const at = slot - segment.physical;
    if (at < 0 || at >= segment.size) return segment;
    const bytes = new Uint8Array(segment.bytes);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(at, BigInt.asUintN(64, change(view.getBigUint64(at, true))), true);
    return { ...segment, bytes };
  });
  return { ...guest, core: { ...guest.core, segments } };
}
