/* What try_to_unmap is asked for (include/linux/rmap.h enum ttu_flags, v4.13). */

/** Put migration entries in the place of the mappings. */
export const TTU_MIGRATION = 0x1;
/** Only look for a locked vma that maps the page. */
export const TTU_MUNLOCK = 0x2;
/** Split a huge pmd that maps the page. */
export const TTU_SPLIT_HUGE_PMD = 0x4;
/** Unmap from locked vmas, too. */
export const TTU_IGNORE_MLOCK = 0x8;
/** Unmap what was used a moment ago, too. */
export const TTU_IGNORE_ACCESS = 0x10;
/** Treat a poisoned page like any other: what is broken of it can be read again. */
export const TTU_IGNORE_HWPOISON = 0x20;
/** Flushes may be put off: the caller calls {@link try_to_unmap_flush} before the page is freed. */
export const TTU_BATCH_FLUSH = 0x40;
/** The caller holds the lock of the rmap walk. */
export const TTU_RMAP_LOCKED = 0x80;
