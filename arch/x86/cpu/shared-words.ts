/** Entries of a buffer that several threads use: each access is one cycle of 8 bytes (SDM vol. 3, 8.1.1). */
export class SharedWords {
  private readonly entries: BigUint64Array;
  private readonly words: Int32Array;

  /** Of a buffer whose length is a multiple of 8. */
  constructor(buffer: ArrayBufferLike) {
    this.entries = new BigUint64Array(buffer);
    this.words = new Int32Array(buffer);
  }

  /** The entry at an address that is a multiple of 8; so the next three. */
  load(address: number): bigint {
    return Atomics.load(this.entries, address / 8);
  }

  store(address: number, value: bigint): void {
    Atomics.store(this.entries, address / 8, value);
  }

  /** Returns what was there. */
  exchange(address: number, value: bigint): bigint {
    return Atomics.exchange(this.entries, address / 8, value);
  }

  /** Returns whether `old` was there and `value` now is. */
  compareExchange(address: number, old: bigint, value: bigint): boolean {
    return Atomics.compareExchange(this.entries, address / 8, old, value) === old;
  }

  /** Stores these bits of a word and leaves the others to whoever stores them. */
  merge(index: number, bits: number, value: number): void {
    const { words } = this;
    for (;;) {
      const old = Atomics.load(words, index);
      if (Atomics.compareExchange(words, index, old, (old & ~bits) | (value & bits)) === old) return;
    }
  }
}
