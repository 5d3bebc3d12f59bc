import { OFFSET_MASK } from "../../arch/x86/cpu/page-walk.ts";
import type { LeafCursor, LeafOptions } from "../inspect/leaves.ts";
import { hexAddress, hexWords } from "../text/hex.ts";

/** Bits 49:32: QEMU masks physical addresses to 50 bits, whatever the CPU has. */
const PHYSICAL_HI = 0x3_ffff;
/** How QEMU's monitor reads tables: no bit is reserved, and PS means nothing above a PDPTE. */
export const QEMU_HABITS: LeafOptions = { tableHi: PHYSICAL_HI, passPs: true };
/** Bit 7 is PAT in a PTE; QEMU shows the P for large pages only. */
const PSE = 0x80;
/** Letters of bits 63 and 8 down to 1. */
const LETTERS = "XGPDACTUW";
const FLAGS = Array.from({ length: 2 ** LETTERS.length }, (_, bits) =>
  [...LETTERS].map((letter, at) => ((bits >>> (LETTERS.length - 1 - at)) & 1 ? letter : "-")).join(""),
);

/**
 * The lines of `info tlb` in QEMU 7.2's monitor, byte for byte, without their newlines: one a leaf, `%016lx: %016lx`
 * and nine flags of the leaf itself (not of its path). The cursor must have {@link QEMU_HABITS}.
 */
export function* qemuTlb(leaves: LeafCursor): Generator<string> {
  while (leaves.next()) {
    const { hi, level } = leaves;
    const lo = level === 1 ? leaves.lo & ~PSE : leaves.lo;
    const physical = hexWords(hi & PHYSICAL_HI, lo & ~(OFFSET_MASK[level] ?? 0));
    yield `${hexAddress(leaves.linear)}: ${physical} ${FLAGS[((hi >>> 31) << 8) | ((lo >>> 1) & 0xff)]}`;
  }
}
