/** Memory types by their encoding in PAT, MTRRs and EPT; 2 and 3 are reserved, 7 exists in the PAT only. */
export const MEMORY_TYPES = ["UC", "WC", null, null, "WT", "WP", "WB", "UC-"] as const;
/** A memory type that can be encoded (SDM vol. 3, 11.3 Methods of Caching Available). */
export type MemoryType = NonNullable<(typeof MEMORY_TYPES)[number]>;

/** IA32_PAT after reset: WB, WT, UC-, UC twice over. */
export const PAT_RESET = 0x0007_0406_0007_0406n;

/** The types of the eight PAT entries. Null when the value has a reserved type: WRMSR raises #GP then. */
export function parsePat(value: bigint): readonly MemoryType[] | null {
  const types: MemoryType[] = [];
  for (let i = 0n; i < 8n; i++) {
    const type = MEMORY_TYPES[Number((value >> (8n * i)) & 0xffn)] ?? null;
    if (type === null) return null;
    types.push(type);
  }
  return types;
}
