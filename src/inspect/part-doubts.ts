import type { Entry } from "../../arch/x86/cpu/entry.ts";
import { hex } from "../text/hex.ts";
import type { Doubt, Doubted } from "./doubt.ts";
import { bitsAt, hasBitAt } from "./foreign-word.ts";
import { describeLinux, readLinux } from "./linux-reading.ts";
import { implausible, MOST_FRAMES } from "./plausibility.ts";

const LOW_12 = 0xfffn;
const NX = 1n << 63n;
/** Bits that Linux leaves zero in a present entry: 57:52, in 6.12 without 57. */
const UNUSED_TOP = [57, 52] as const;
/** Flags of a table entry of Linux: P, R/W and perhaps U/S, A; D too. */
const TABLE_FLAGS: ReadonlySet<bigint> = new Set([0x67n, 0x63n, 0x27n, 0x23n, 0x47n, 0x43n]);
/** Levels that an entry may rather belong to, the likeliest first. */
const LEVELS = [
  { name: "pmd", level: 2, below: [20, 13] },
  { name: "pud", level: 3, below: [29, 13] },
  { name: "pte", level: 1, below: null },
] as const;

/** Doubts of a part of a value: all that speak count. */
export const PART_DOUBTS: readonly Doubt[] = [
  {
    id: "level",
    example: { value: 0x8000_0000_4000_00e7n, level: "pgd" },
    says: (doubted) => {
      if (!isLevelWrong(doubted)) return null;
      const fits = fittingLevels(doubted);
      return fits.length === 0 ? "it fits no level" : `rather of another level: ${fits.join("; ")}`;
    },
  },
  {
    id: "page-size",
    example: { value: 0x8000_0000_1234_50e7n, level: "pmd" },
    says: ({ decoded, entry, pteFormats }) => {
      const large = decoded.kind === "pde-2m" || decoded.kind === "pdpte-1g";
      const below = decoded.fields.find(({ meaning }) => meaning.startsWith("below the alignment"));
      if (!large || !decoded.present || below === undefined || below.value === 0) return null;
      const as = describeLinux(readLinux(pteFormats[0]!, 1, entry));
      return `address bits below the page's size are set: rather a pte, where bit 7 is PAT: ${as}`;
    },
  },
  {
    id: "swap-beyond",
    example: { value: 0x0000_2000_6053_3860n },
    says: ({ wrong, decoded, likelier }) =>
      wrong !== null && decoded.kernels[0]!.linux.kind === "swap" ? withLikelier(wrong, likelier) : null,
  },
  {
    id: "frame-beyond",
    example: { value: 0x48b4_c244_4894_8067n, level: "pmd" },
    says: ({ wrong, decoded, likelier }) => {
      const { linux } = decoded.kernels[0]!;
      return wrong !== null && "pfn" in linux ? withLikelier(wrong, likelier) : null;
    },
  },
  {
    id: "special-type",
    example: { value: 0xfc00_0000_0000_0000n },
    says: ({ wrong, decoded, likelier }) => {
      const { kind } = decoded.kernels[0]!.linux;
      const special = kind === "unknown-type" || kind === "marker" || kind === "swapin-error";
      return wrong !== null && special ? withLikelier(wrong, likelier) : null;
    },
  },
  {
    id: "lost-low-bits",
    example: { value: 0xfd20_b000n, kernel: "linux-4.7" },
    says: ({ value, wrong, pteFormats }) => {
      const address = value & ~NX;
      const bare = address !== 0n && (address & LOW_12) === 0n && address < 2n ** 46n;
      // In these layouts low bits are zero in most swap entries of area 0.
      const usual = pteFormats.every(({ layout }) => layout.swap.typeBit >= 9 && layout.swap.typeBit < 14);
      return bare && (wrong !== null || !usual)
        ? `bits 11:0 are all zero: it may also be the address ${hex(address)} that lost its flags`
        : null;
    },
  },
  {
    id: "byte-swapped",
    example: { value: 0x6758_3412_0000_0080n },
    says: ({ value, wrong }) => said(wrong, reversed(value), "the bytes in reverse order (big-endian)"),
  },
  {
    id: "halves-swapped",
    example: { value: 0x1234_5867_8000_0000n },
    says: ({ value, wrong }) =>
      said(wrong, ((value & 0xffff_ffffn) << 32n) | (value >> 32n), "the two halves exchanged"),
  },
  {
    id: "shifted",
    example: { value: 0x6780_0000_0012_3458n },
    says: ({ value, wrong }) => {
      const turns = [8n, 16n, 24n, 40n, 48n, 56n].map((by) => ({
        by,
        turned: ((value >> by) | (value << (64n - by))) & (2n ** 64n - 1n),
      }));
      const found = turns.find(({ turned }) => looksPresent(turned));
      return found === undefined
        ? null
        : said(
            wrong,
            found.turned,
            `read ${(64n - found.by) / 8n} byte${found.by === 56n ? "" : "s"} off its place`,
          );
    },
  },
  {
    id: "two-short-entries",
    example: { value: 0x1234_6067_1234_5067n },
    says: ({ value, wrong }) => {
      const high = value >> 32n;
      const pair = (high & LOW_12) === (value & LOW_12) && hasBitAt(value, 0) && high >> 12n !== 0n;
      return wrong !== null && pair
        ? `rather two entries of 32 bits, ${hex(value & 0xffff_ffffn)} and ${hex(high)}: tables without PAE`
        : null;
    },
  },
  {
    id: "one-bit",
    example: { value: 0x0000_0000_0800_0000n },
    says: ({ value, wrong }) => {
      const single = value !== 0n && (value & (value - 1n)) === 0n;
      return wrong !== null && single
        ? `only bit ${value.toString(2).length - 1} is set: rather an empty entry with one flipped bit (bad memory)`
        : null;
    },
  },
  {
    id: "stray-swap-bits",
    example: { value: 0x07ff_ffff_ffff_fc90n },
    says: ({ decoded, pteFormats, wrong }) => {
      const { kind } = decoded.kernels[0]!.linux;
      if (wrong !== null || (kind !== "swap" && kind !== "migration" && kind !== "hwpoison")) return null;
      const stray = strayBits(decoded.entry, pteFormats[0]!);
      return stray.length === 0
        ? null
        : `bit${stray.length > 1 ? "s" : ""} ${stray.join(", ")}: no kernel of this layout sets them in such an entry`;
    },
  },
  {
    id: "file-mapping",
    example: { value: 0x0000_0000_0246_8042n, kernel: "linux-4.7" },
    says: ({ value, decoded, pteFormats }) =>
      decoded.kernels[0]!.linux.kind === "swap" &&
      pteFormats[0]!.layout.swap.typeBit < 6 &&
      hasBitAt(value, 6)
        ? "bit 6: before 4.0 this is a page of a nonlinear file mapping (_PAGE_FILE), not of swap"
        : null,
  },
  {
    id: "foreign-bits",
    example: { value: 0x0a00_0001_688c_8867n },
    says: ({ value, decoded, pteFormats }) => {
      const [high, low] = UNUSED_TOP;
      const top = pteFormats.some(({ layout }) => layout.savedDirtyBit !== null) ? high - 1 : high;
      if (!decoded.present || bitsAt(value, [top, low]) === 0n) return null;
      return "bits that Linux leaves zero (57:52) are set: Windows counts there (--as windows), an EPT marks there (--as ept)";
    },
  },
  {
    id: "ept-table",
    example: { value: 0x0010_0000_7a88_a007n, level: "pmd" },
    says: ({ value, decoded }) =>
      decoded.present && decoded.level > 1 && (value & 0xffn) === 7n
        ? "P, R/W, U/S and nothing else, not even A: rather a table entry of an EPT, rwx (--as ept)"
        : null,
  },
  {
    id: "ept-leaf",
    example: { value: 0x1_2345_6c77n },
    says: ({ value, decoded }) =>
      decoded.present && decoded.level === 1 && (value & 0x7fn) === 0x77n && !hasBitAt(value, 63)
        ? "uncached and user-mode here; as a leaf of an EPT it is rwx, write-back, ignore PAT: usual there (--as ept)"
        : null,
  },
  {
    id: "encryption-bit",
    example: { value: 0x8008_0000_0012_3163n },
    says: ({ value, wrong, decoded }) => {
      const bit = [51, 47].find(
        (each) => hasBitAt(value, each) && looksPresent(value & ~(1n << BigInt(each))),
      );
      return wrong !== null && decoded.present && bit !== undefined
        ? `without bit ${bit} the address is an ordinary one: rather SEV's C-bit (--cbit ${bit}) or TDX's shared bit (--shared-bit ${bit})`
        : null;
    },
  },
  {
    id: "frame-zero",
    example: { value: 0x8000_0000_0000_0067n },
    says: ({ decoded }) => {
      const { linux } = decoded.kernels[0]!;
      const user = linux.kind === "present" && linux.flags.includes("USER");
      return (user || linux.kind === "table") && linux.pfn === 0
        ? "frame 0 belongs to the firmware and is never handed out: the address was lost"
        : null;
    },
  },
];

function withLikelier(wrong: string, likelier: readonly string[]): string {
  return likelier.length === 0 ? wrong : `${wrong}; likelier: ${likelier.join("; or ")}`;
}

function said(wrong: string | null, other: bigint, how: string): string | null {
  return wrong !== null && looksPresent(other)
    ? `${how} make ${hex(other)}, a usual entry`.replace("place make", "place makes")
    : null;
}

/** Whether a value is an everyday entry of a page or a table: P, A, an address below 64 TiB, no bits in between. */
function looksPresent(value: bigint): boolean {
  const flags = value & 0x7fn;
  const usual =
    TABLE_FLAGS.has(flags) || flags === 0x25n || flags === 0x65n || flags === 0x61n || flags === 0x21n;
  const frame = bitsAt(value, [51, 12]);
  return usual && bitsAt(value, [62, 52]) === 0n && frame !== 0n && frame < BigInt(MOST_FRAMES);
}

function reversed(value: bigint): bigint {
  let result = 0n;
  for (let i = 0n; i < 64n; i += 8n) result = (result << 8n) | ((value >> i) & 0xffn);
  return result;
}

/** Something other than a table pointer where only those stand, or a table entry with a bit 7. */
function isLevelWrong({ decoded }: Doubted): boolean {
  return decoded.level > 3 && decoded.kernels.every(({ linux }) => linux.kind === "bad");
}

function fittingLevels({ entry, pteFormats, decoded }: Doubted): string[] {
  const value = entry.toBigInt();
  const fits = LEVELS.flatMap(({ name, level, below }) => {
    const reading = readLinux(pteFormats[0]!, level, entry);
    const isAligned = !decoded.present || below === null || bitsAt(value, below) === 0n;
    const possible = isAligned && implausible(reading) === null;
    return possible ? [{ level, text: `as a ${name} it is ${describeLinux(reading)}` }] : [];
  });
  // What is not present reads the same at every level, and most such entries are ptes.
  const shown = decoded.present ? fits : fits.filter(({ level }) => level === 1);
  return shown.map(({ text }) => text);
}

/** Bits below the fields of a swap entry without a meaning; A and D excepted, which an erratum may set. */
function strayBits({ lo }: Entry, { layout }: Doubted["pteFormats"][number]): number[] {
  const { typeBit, offsetBit, softDirtyBit, uffdWpBit, exclusiveBit } = layout.swap;
  const known = new Set([softDirtyBit, uffdWpBit, exclusiveBit, 5, 6]);
  const end = Math.min(typeBit, offsetBit);
  return [1, 2, 3, 4, 7].filter((bit) => bit < end && !known.has(bit) && ((lo >>> bit) & 1) === 1);
}
