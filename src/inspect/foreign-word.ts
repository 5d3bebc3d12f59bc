/** One field of a word that is no entry of the processor's own tables, with what it holds. */
export interface WordField {
  readonly name: string;
  /** Highest and lowest bit. */
  readonly bits: readonly [number, number];
  readonly value: string;
  /** Empty where the value says it all. */
  readonly meaning: string;
}

/** A word of another format (pagemap, EPT, Windows), read. */
export interface ForeignWord {
  readonly format: "pagemap" | "ept" | "windows";
  /** A few words: "present, frame 0x83d7", "misconfiguration". */
  readonly what: string;
  /** Whether every use of it is an error. */
  readonly broken: boolean;
  /** Where it leads, in words; "none" where it leads nowhere. */
  readonly address: string;
  readonly rights: string;
  readonly type: string;
  /** A frame of memory or a slot of a page file that it names, for who doubts it; null for none. */
  readonly frame: number | null;
  readonly slot: number | null;
  /** The fields that are not zero, highest bit first. */
  readonly fields: readonly WordField[];
}

/** Throws TypeError for what is no bigint and RangeError for one that does not fit 64 bits, naming it. */
export function requireWord(value: bigint): void {
  if (typeof value !== "bigint") throw new TypeError(`value ${String(value)}: give a bigint`);
  if (value < 0n || value >= 2n ** 64n) throw new RangeError(`value ${value}: give one from 0 to 2^64-1`);
}

/** Some bits of a 64-bit value, shifted down. */
export function bitsAt(value: bigint, [high, low]: readonly [number, number]): bigint {
  return (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
}

/** Whether a bit of a 64-bit value is set. */
export function hasBitAt(value: bigint, bit: number): boolean {
  return ((value >> BigInt(bit)) & 1n) === 1n;
}

/** What an entry that holds a field is called in its listing: a field's row of data. */
export interface WordFieldSpec {
  readonly name: string;
  readonly bits: readonly [number, number];
  readonly meaning: string;
}

/** The fields of a word that are not zero, in the order of the list. */
export function fieldsOf(value: bigint, specs: readonly WordFieldSpec[]): WordField[] {
  return specs
    .map(({ name, bits, meaning }) => ({ name, bits, meaning, number: bitsAt(value, bits) }))
    .filter(({ number }) => number !== 0n)
    .map(({ number, bits, ...field }) => ({
      ...field,
      bits,
      value: bits[0] === bits[1] ? "1" : `0x${number.toString(16)}`,
    }));
}
