/** A value that debugging code, allocators or compilers write where nothing should be read. */
export interface FillPattern {
  readonly value: bigint;
  /** How many bits of it, from bit 0, must be these: 64, or 32 for what is written in halves. */
  readonly bits: 32 | 64;
  readonly who: string;
}

const EVERY_BYTE = 0x0101_0101_0101_0101n;

function filled(byte: number, who: string): FillPattern {
  return { value: BigInt(byte) * EVERY_BYTE, bits: 64, who };
}

/** Known patterns (Linux: include/linux/poison.h and the documentation of its debugging options). */
export const FILL_PATTERNS: readonly FillPattern[] = [
  filled(0x6b, "freed slab memory (slub_debug, POISON_FREE)"),
  filled(0x5a, "slab memory that was not initialised (slub_debug, POISON_INUSE)"),
  filled(0xa5, "the end of a slab object (POISON_END)"),
  filled(0xbb, "a red zone of the slab allocator"),
  filled(0xcc, "int3 padding of code, kernel init memory or a poisoned object"),
  filled(0xaa, "a poisoned page (page_poisoning)"),
  filled(0xcd, "uninitialised heap of a Windows debug build"),
  filled(0xdd, "freed heap of a Windows debug build"),
  filled(0xfd, "a guard of a Windows debug heap"),
  filled(0x90, "nop instructions"),
  { value: 0xdead_0000_0000_0100n, bits: 64, who: "LIST_POISON1, a list entry that was removed" },
  { value: 0xdead_0000_0000_0122n, bits: 64, who: "LIST_POISON2, a list entry that was removed" },
  { value: 0xdead_0000_0000_0200n, bits: 64, who: "LIST_POISON2 of older kernels" },
  { value: 0xdead_4ead_dead_4eadn, bits: 64, who: "the magic of a spinlock" },
  { value: 0xdead_4eadn, bits: 32, who: "the magic of a spinlock" },
  { value: 0xdead_beefn, bits: 32, who: "a marker of freed or unused memory" },
  { value: 0xbaad_f00dn, bits: 32, who: "uninitialised heap of Windows" },
  { value: 0xfeee_feeen, bits: 32, who: "freed heap of Windows" },
  { value: 0xcafe_baben, bits: 32, who: "a marker" },
];

/** The pattern that a value is, or null. One of 32 bits may stand in the low half alone, or in both. */
export function fillPattern(value: bigint): FillPattern | null {
  const low = value & 0xffff_ffffn;
  const high = value >> 32n;
  return (
    FILL_PATTERNS.find(({ value: pattern, bits }) =>
      bits === 64 ? value === pattern : low === pattern && (high === 0n || high === pattern),
    ) ?? null
  );
}
