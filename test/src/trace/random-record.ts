import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { Encoding } from "../../../arch/x86/cpu/record.ts";
import type { Random } from "../../../src/sim/random.ts";
import { encodingOf, KINDS, type RecordKind, type TraceRecord } from "../../../src/trace/record.ts";

/* Records of any kind with random values, made from the table of kinds and fields alone. */

const TEXTS = [
  "",
  "kswapd",
  "a b",
  'quoted "\\" text',
  "f\u00fcr \u6f22\u5b57 \u{1f40c}",
  "__proto__",
  "constructor",
];

/** Values at the ends of what an encoding holds come up often. */
function oneOf<T>(random: Random, values: readonly T[]): T {
  return values[random.below(values.length)]!;
}

function upTo(random: Random, bits: number): number {
  return Math.floor((random.next() * 2 ** 21 + (random.next() >>> 11)) / 2 ** (53 - bits));
}

function word(random: Random): number {
  return oneOf(random, [0, -1, 1, 0x8000_0000 | 0, 0x7fff_ffff, random.next() | 0, random.below(256)]);
}

function table(random: Random): Int32Array {
  const words = new Int32Array(1024);
  const entries = oneOf(random, [0, 1, 5, 512]);
  for (let i = 0; i < entries; i++) {
    const at = 2 * (entries === 512 ? i : random.below(512));
    words[at] = word(random);
    words[at + 1] = word(random);
  }
  return words;
}

function valueFor(random: Random, is: Encoding): unknown {
  switch (is) {
    case "int":
    case "difference":
    case "bytes":
      return oneOf(random, [
        NONE,
        0,
        1,
        -2,
        2 ** 52 - 1,
        -(2 ** 52 - 1),
        upTo(random, 40),
        random.below(200),
      ]);
    case "flag":
      return random.oneIn(2);
    case "text":
      return oneOf(random, TEXTS);
    case "names":
      return Array.from({ length: random.below(4) }, () => oneOf(random, TEXTS));
    case "pfn":
      return oneOf(random, [NONE, 0, 2 ** 40 - 1, upTo(random, 40), random.below(1000)]);
    case "slot":
      return oneOf(random, [NONE, 0, 2 ** 52 - 8, 8 * upTo(random, 49), 8 * random.below(1000)]);
    case "physical":
      return oneOf(random, [NONE, 0, 2 ** 52 - 1, upTo(random, 52)]);
    case "cpus":
      return Array.from({ length: random.below(3) }, () => word(random));
    case "words":
      return table(random);
    default:
      return oneOf(random, is as readonly string[]);
  }
}

/** A record of that kind. */
export function randomRecord(random: Random, kind: RecordKind, seq: number): TraceRecord {
  const id = () => oneOf(random, [NONE, 0, 1, random.below(40), 2 ** 40]);
  const record: Record<string, unknown> = { kind, seq, agent: id() + 1, cpu: id(), space: id() };
  for (const name of KINDS[kind].has) {
    const is = encodingOf(name);
    if (is === "linear" || is === "entry") {
      record[`${name}Lo`] = word(random);
      record[`${name}Hi`] = word(random);
    } else record[name] = valueFor(random, is);
  }
  return record as unknown as TraceRecord;
}
