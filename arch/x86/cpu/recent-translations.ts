const SLOTS = 128;
/** Words of a slot: the page's low bits with the access below them, its high word, its frame's address. */
const STRIDE = 4;
const HI = 1;
const BASE = 2;
/** From a low word to its slot: page number times STRIDE. */
const SLOT_SHIFT = 10;
const SLOT_MASK = (SLOTS - 1) * STRIDE;
const PAGE = ~0xfff;
const OFFSET = 0xfff;
/** In the first word of every slot that is in use. */
const USED = 0x800;
/** What {@link RecentTranslations.find} returns for a translation that is not here. */
export const ABSENT = -1;
const NOWHERE = ABSENT;
/** A slot has 31 bits for a physical address. */
const LAST_ADDRESS = 0x7fff_ffff;

/**
 * The translations that hit the TLB last, each for one page and one access (its kind and mode). So a repeated hit costs
 * one look, where the way through the TLB and the rights takes several.
 *
 * It answers nothing that this way would not: whatever may change an answer clears all.
 */
export class RecentTranslations {
  private readonly words = new Int32Array(SLOTS * STRIDE);
  private empty = true;

  /** Physical byte address of a linear one, where its translation for this access (below 2^11) is here; else ABSENT. */
  find(lo: number, hi: number, access: number): number {
    const { words } = this;
    const slot = (lo >>> SLOT_SHIFT) & SLOT_MASK;
    const here = words[slot] === ((lo & PAGE) | USED | access) && words[slot + HI] === hi;
    return here ? words[slot + BASE]! | (lo & OFFSET) : NOWHERE;
  }

  /** Keeps what the TLB answered, in another's place; not an address from 2^31 on. */
  keep(lo: number, hi: number, access: number, physical: number): void {
    if (physical > LAST_ADDRESS) return;
    const { words } = this;
    const slot = (lo >>> SLOT_SHIFT) & SLOT_MASK;
    words[slot] = (lo & PAGE) | USED | access;
    words[slot + HI] = hi;
    words[slot + BASE] = physical & PAGE;
    this.empty = false;
  }

  clear(): void {
    if (this.empty) return;
    this.words.fill(0);
    this.empty = true;
  }
}
