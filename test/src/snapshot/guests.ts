import { join } from "node:path";
import { type GuestSnapshot, readGuestDirectory } from "../../../src/formats/guest-snapshot.ts";

const DATA = join(import.meta.dirname, "../../data");
const read = new Map<string, GuestSnapshot>();

/** A real guest of test/data, read once a test file. */
export function realGuest(name: "guest-a1" | "guest-a2"): GuestSnapshot {
  const guest = read.get(name) ?? readGuestDirectory(join(DATA, name));
  read.set(name, guest);
  return guest;
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
