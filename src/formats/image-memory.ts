import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { need } from "../../arch/x86/cpu/argument.ts";
import { callable, numeral, shape, whole } from "../../arch/x86/cpu/argument-kinds.ts";
import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import type { MemoryImage } from "./memory-image.ts";

/** Pages that are kept: 32 MiB. A walk reads five; what reads more goes through the tables in order. */
const MAX_CACHED = 2 ** 13;
const WORDS = PAGE_SIZE / 4;

const IMAGE = shape<MemoryImage>("image", { holds: callable("holds"), readPage: callable("readPage") });
const HIDDEN = whole("hidden bits", -(2 ** 31), 2 ** 32 - 1);
const ENTRY = numeral<number>(
  "address of an entry",
  "a multiple of 8 below 2^52",
  (address) => address >= 0 && address < 2 ** 52 && address % 8 === 0,
);
const PAGE = numeral<number>(
  "address of a page",
  "a multiple of 4096 below 2^52",
  (address) => address >= 0 && address < 2 ** 52 && address % PAGE_SIZE === 0,
);

/**
 * An image as memory that is only read: pages come from the file when they are looked at, at any of 52 address bits.
 * What the file does not hold reads as all ones, as where no memory is. Writes are dropped.
 *
 * `hidden` are bits of every entry's high word that read as zero: the bit by which a guest marks encrypted or shared
 * pages is no part of an address.
 */
export class ImageMemory extends PhysicalMemory {
  readonly #image: MemoryImage;
  readonly #shown: number;
  readonly #pages = new Map<number, Int32Array | null>();

  constructor(image: MemoryImage, hidden = 0) {
    // The page at address 0 is the one that the walk reads by itself.
    super(PAGE_SIZE);
    this.#image = need(IMAGE, image);
    need(HIDDEN, hidden);
    this.#shown = ~hidden;
    const first = this.tableAt(0);
    if (first === null) this.words.fill(-1);
    else this.words.set(first);
  }

  override hasFrame(pfn: number): boolean {
    return this.#image.holds(pfn * PAGE_SIZE);
  }

  override fetch(address: number): void {
    this.lo = this.readLo(address);
    this.hi = this.readHi(address);
  }

  override readLo(address: number): number {
    need(ENTRY, address);
    return this.#wordAt(address);
  }

  override readHi(address: number): number {
    need(ENTRY, address);
    return this.#wordAt(address + 4);
  }

  override tableAt(page: number): Int32Array | null {
    need(PAGE, page);
    const known = this.#pages.get(page);
    if (known !== undefined) return known;
    const bytes = this.#image.readPage(page);
    const words = bytes === null ? null : this.#wordsOf(bytes);
    if (this.#pages.size === MAX_CACHED) this.#pages.delete(this.#pages.keys().next().value!);
    this.#pages.set(page, words);
    return words;
  }

  #wordAt(address: number): number {
    const offset = address % PAGE_SIZE;
    const words = this.tableAt(address - offset);
    return words === null ? -1 : words[offset / 4]!;
  }

  #wordsOf(bytes: Uint8Array): Int32Array {
    // A view of the file's bytes where they stand aligned, and are not changed.
    const own = bytes.byteOffset % 4 !== 0 || this.#shown !== -1 ? new Uint8Array(bytes) : bytes;
    const words = new Int32Array(own.buffer, own.byteOffset, WORDS);
    if (this.#shown !== -1) for (let hi = 1; hi < WORDS; hi += 2) words[hi]! &= this.#shown;
    return words;
  }
}
