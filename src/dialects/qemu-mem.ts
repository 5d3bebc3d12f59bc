import { PTE_U, PTE_W } from "../../arch/x86/cpu/entry-layout.ts";
import { type LeafCursor, pageBytes } from "../inspect/leaves.ts";
import { hexAddress } from "../text/hex.ts";

/** Bytes of the linear-address space by levels of the tables. */
const SPACE = { 4: 2 ** 48, 5: 2 ** 57 } as const;

/**
 * The lines of `info mem` in QEMU 7.2's monitor, byte for byte, without their newlines: `start-end length` and three
 * letters. Neighbouring pages of any size are one range while R/W and U/S, each the AND over all levels, stay the
 * same. QEMU joins ranges before it extends signs, so one may span the non-canonical hole; its length then has the
 * sign extended too. The cursor must have QEMU_HABITS. For five levels QEMU 7.2 itself prints nothing: its walk skips
 * what is present; this prints what one would that does not.
 */
export function* qemuMem(leaves: LeafCursor): Generator<string> {
  const space = SPACE[leaves.levels];
  const mask = PTE_U | PTE_W;
  let start = 0;
  let end = -1;
  let rights = 0;
  while (leaves.next()) {
    const linear = leaves.linear < space ? leaves.linear : leaves.linear - (2 ** 64 - space);
    const here = leaves.every & mask;
    if (linear !== end || here !== rights) {
      if (end >= 0) yield line(start, end, rights, space);
      start = linear;
      rights = here;
    }
    end = linear + pageBytes(leaves.level);
  }
  if (end >= 0) yield line(start, end, rights, space);
}

function line(start: number, end: number, rights: number, space: number): string {
  const letters = `${(rights & PTE_U) === 0 ? "-" : "u"}r${(rights & PTE_W) === 0 ? "-" : "w"}`;
  return `${signed(start, space)}-${signed(end, space)} ${signed(end - start, space)} ${letters}`;
}

/** With the address's top bit copied to bits 63 and down. The end of the space itself, a one more bit, has it clear. */
function signed(address: number, space: number): string {
  const negative = address >= space / 2 && address < space;
  return hexAddress(negative ? address + (2 ** 64 - space) : address);
}
