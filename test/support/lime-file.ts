/** A LiME header, version 1, for the memory from one physical address to another, both included. */
export function limeHeader(first: number, last: number): Uint8Array {
  const header = new Uint8Array(32);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x4c69_4d45, true);
  view.setUint32(4, 1, true);
  view.setBigUint64(8, BigInt(first), true);
  view.setBigUint64(16, BigInt(last), true);
  return header;
}

/** A LiME file of some ranges. */
export function buildLime(
  ranges: readonly { readonly first: number; readonly bytes: Uint8Array }[],
): Uint8Array {
  const parts = ranges.flatMap(({ first, bytes }) => [limeHeader(first, first + bytes.length - 1), bytes]);
  return Uint8Array.from(Buffer.concat(parts));
}
