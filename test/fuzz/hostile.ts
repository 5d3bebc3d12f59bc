import type { Xorshift } from "../support/mutate.ts";

/** What somebody may put into a name to move the cursor, forge a line, turn the writing round or make a parser stumble. */
const HOSTILE = [
  "\x1b[31m",
  "\x1b[2J\x1b[H",
  "\x1b]0;title\x07",
  "\x9b31m",
  "\u202e",
  "\u2066",
  "\u200f\u061c",
  "\u200b\ufeff",
  "\u2028\u2029",
  "\nptescope: forged",
  "\r",
  "\b\b",
  "\x7f",
  "\ud800",
  "\udc00x",
  "\u{e0041}",
  "__proto__",
  "constructor",
  "-",
  "--",
  "--help",
  "",
  " ",
  "0x",
  "-1",
  "1e999",
  "NaN",
  "9".repeat(40),
  "f".repeat(17),
  "a".repeat(3000),
  "%s%n",
  "$(echo x)",
  "漢字 für",
] as const;

/** A short hostile text; without NUL, which no argument can hold. */
export function hostileText(random: Xorshift): string {
  const count = 1 + random.below(3);
  return Array.from({ length: count }, () => random.pick(HOSTILE)).join(random.pick(["", "a", " ", ","]));
}

/** Bytes with a hostile text somewhere in them. */
export function spliced(bytes: Uint8Array, random: Xorshift): Uint8Array {
  const at = random.below(bytes.length + 1);
  const over = random.below(2) === 0 ? 0 : random.below(8);
  return Uint8Array.from(
    Buffer.concat([bytes.subarray(0, at), Buffer.from(hostileText(random)), bytes.subarray(at + over)]),
  );
}

const WORDS = [0n, 1n, 0x67n, 0xe7n, 0x8000_0000_0000_0025n, 0xfn << 52n, 2n ** 52n - 1n, 2n ** 64n - 1n];

/** A 64-bit word that is likely to mean something. */
export function anyWord(random: Xorshift): bigint {
  if (random.below(3) === 0) return random.pick(WORDS);
  const flags = BigInt(random.next() & 0xfff);
  const frame = BigInt(random.next()) << BigInt(12 + random.below(20));
  const high = random.below(2) === 0 ? 0n : BigInt(random.next()) << 32n;
  return BigInt.asUintN(64, frame | flags | high);
}
