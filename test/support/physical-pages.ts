/** Physical memory written entry by entry, of which only the pages that were touched exist. */
export class PhysicalPages {
  readonly #pages = new Map<number, Uint8Array>();

  /** Writes one entry at a physical address. */
  entry(at: number, value: bigint): this {
    const page = at - (at % 4096);
    const bytes = this.page(page);
    new DataView(bytes.buffer).setBigUint64(at % 4096, value, true);
    return this;
  }

  /** Makes a page exist. */
  page(page: number): Uint8Array {
    const bytes = this.#pages.get(page) ?? new Uint8Array(4096);
    this.#pages.set(page, bytes);
    return bytes;
  }

  /**
   * Writes the entries that a walk of a linear address reads, from the root down; each stands where the one before points,
   * but for the bits in `hidden`.
   */
  path(root: number, linear: bigint, entries: readonly bigint[], levels: 4 | 5 = 4, hidden = 0n): this {
    let table = root;
    for (const [depth, value] of entries.entries()) {
      const shift = BigInt(12 + 9 * (levels - 1 - depth));
      this.entry(table + Number((linear >> shift) & 511n) * 8, value);
      table = Number(value & ~hidden & 0xf_ffff_ffff_f000n);
    }
    return this;
  }

  /** The pages by address. */
  get pages(): readonly { readonly physical: number; readonly bytes: Uint8Array }[] {
    return [...this.#pages].sort(([a], [b]) => a - b).map(([physical, bytes]) => ({ physical, bytes }));
  }
}
