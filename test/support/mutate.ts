import { nextXorshift32 } from "../../arch/x86/cpu/xorshift32.ts";

/** A small deterministic generator: the same seed gives the same run anywhere. */
export class Xorshift {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0 || 1;
  }

  next(): number {
    this.#state = nextXorshift32(this.#state) >>> 0;
    return this.#state;
  }

  /** An integer from 0 to limit - 1; 0 when limit is 0. */
  below(limit: number): number {
    return limit === 0 ? 0 : this.next() % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

export interface Mutation {
  /** Seed, number and what was done: enough to make it again. */
  readonly label: string;
  readonly bytes: Uint8Array;
}

/** Counts and lengths that readers get wrong: ends of integer ranges and their neighbours, as 64-bit words. */
const ABSURD_WORDS = [
  0n,
  1n,
  0x7fff_ffffn,
  0xffff_ffffn,
  0x1_0000_0000n,
  2n ** 40n,
  2n ** 52n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
];
const ABSURD_TEXT = [
  "-1",
  "0",
  "99999999999999999999",
  "ffffffffffffffff",
  "7777777",
  "1e99",
  "0x",
  "\0",
  "\n",
];

type Change = (bytes: Uint8Array, random: Xorshift) => { done: string; bytes: Uint8Array };

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    const length = random.below(bytes.length);
    return { done: `truncated to ${length}`, bytes: bytes.slice(0, length) };
  },
  (bytes, random) => {
    const copy = bytes.slice();
    const at = random.below(copy.length);
    const bit = random.below(8);
    copy[at]! ^= 1 << bit;
    return { done: `bit ${bit} of byte ${at} flipped`, bytes: copy };
  },
  (bytes, random) => {
    const copy = bytes.slice();
    const count = 1 + random.below(8);
    for (let index = 0; index < count; index++) copy[random.below(copy.length)] = random.below(256);
    return { done: `${count} bytes replaced`, bytes: copy };
  },
  (bytes, random) => {
    const copy = bytes.slice();
    const size = random.pick([2, 4, 8]);
    const at = random.below(Math.floor(Math.max(0, copy.length - 8) / size)) * size;
    const word = random.pick(ABSURD_WORDS);
    for (let index = 0; index < size && at + index < copy.length; index++) {
      copy[at + index] = Number((word >> BigInt(8 * index)) & 0xffn);
    }
    return { done: `${size} bytes at ${at} set to 0x${word.toString(16)}`, bytes: copy };
  },
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    const done = `bytes ${from}..${to} cut out`;
    return { done, bytes: joined(bytes.subarray(0, from), bytes.subarray(to)) };
  },
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    const done = `bytes ${from}..${to} doubled`;
    return { done, bytes: joined(bytes.subarray(0, to), bytes.subarray(from)) };
  },
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    const copy = bytes.slice();
    copy.fill(0, from, to);
    return { done: `bytes ${from}..${to} zeroed`, bytes: copy };
  },
  (bytes, random) => {
    const at = random.below(bytes.length);
    let end = at;
    while (end < bytes.length && isHexDigit(bytes[end]!)) end++;
    const text = random.pick(ABSURD_TEXT);
    const middle = new TextEncoder().encode(text);
    const done = `text at ${at}..${end} replaced by ${JSON.stringify(text)}`;
    return { done, bytes: joined(bytes.subarray(0, at), middle, bytes.subarray(end)) };
  },
];

/** `count` damaged copies of `bytes`, each by one or two changes that a seeded generator chooses. */
export function* mutations(bytes: Uint8Array, seed: number, count: number): Generator<Mutation> {
  const random = new Xorshift(seed);
  for (let number = 0; number < count; number++) {
    const first = random.pick(CHANGES)(bytes, random);
    const second = random.below(4) === 0 ? random.pick(CHANGES)(first.bytes, random) : null;
    const done = second === null ? first.done : `${first.done}, then ${second.done}`;
    yield { label: `seed ${seed}, mutation ${number}: ${done}`, bytes: (second ?? first).bytes };
  }
}

function range(bytes: Uint8Array, random: Xorshift): [number, number] {
  const from = random.below(bytes.length);
  const longest = Math.min(bytes.length - from, random.pick([8, 64, 600, 5000]));
  return [from, from + random.below(longest + 1)];
}

function isHexDigit(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x61 && byte <= 0x66);
}

function joined(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
