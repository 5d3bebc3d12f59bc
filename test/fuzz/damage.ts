import { mutations, type Xorshift } from "../support/mutate.ts";
import { anyWord, spliced } from "./hostile.ts";

/** Bytes as they are, or damaged in one of the ways of test/support/mutate.ts, or with a hostile text in them. */
export function damaged(bytes: Uint8Array, random: Xorshift): Uint8Array {
  const way = random.below(8);
  if (way === 0) return bytes;
  if (way === 1) return spliced(bytes, random);
  for (const { bytes: changed } of mutations(bytes, random.next(), 1)) return changed;
  return bytes;
}

/** Table pages with other entries: words of any kind, tables that point at themselves or at each other. */
export function scrambled(tables: Uint8Array, physical: number, random: Xorshift): Uint8Array {
  const bytes = tables.slice();
  const view = new DataView(bytes.buffer);
  const pages = bytes.length / 4096;
  const page = (): bigint => BigInt(physical + random.below(pages) * 4096);
  switch (random.below(6)) {
    case 0:
      break;
    case 1: {
      // Every entry of a page leads to one page: 512 ways down at every level.
      const from = random.below(pages) * 4096;
      const to = random.below(2) === 0 ? BigInt(physical + from) : page();
      for (let at = from; at < from + 4096; at += 8) view.setBigUint64(at, to | 0x67n, true);
      break;
    }
    case 2:
    case 3:
      for (let count = random.below(40); count >= 0; count--) {
        view.setBigUint64(
          random.below(bytes.length / 8) * 8,
          page() | BigInt(random.next() & 0xfff) | 1n,
          true,
        );
      }
      break;
    default:
      for (let count = random.below(40); count >= 0; count--) {
        view.setBigUint64(random.below(bytes.length / 8) * 8, anyWord(random), true);
      }
  }
  return bytes;
}
