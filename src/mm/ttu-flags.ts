/** What try_to_unmap is asked for (include/linux/rmap.h enum ttu_flags, v4.13). */
export const TTU_MIGRATION = 0x1;
export const TTU_MUNLOCK = 0x2;
export const TTU_SPLIT_HUGE_PMD = 0x4;
export const TTU_IGNORE_MLOCK = 0x8;
export const TTU_IGNORE_ACCESS = 0x10;
export const TTU_IGNORE_HWPOISON = 0x20;
export const TTU_BATCH_FLUSH = 0x40;
export const TTU_RMAP_LOCKED = 0x80;
