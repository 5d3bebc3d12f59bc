import { IntervalTree } from "./interval-tree.ts";
import { rw_semaphore } from "./locks.ts";
import type { vm_area_struct } from "./vma.ts";

/** The page cache of one file: who maps it and which of its pages are in memory (include/linux/fs.h). */
export class address_space {
  readonly name: string;
  /** Shared-memory files: their pages are swap-backed and count as MM_SHMEMPAGES. */
  readonly swapBacked: boolean;
  /** Whether dirty pages are accounted and cleaned by writeback (mapping_cap_account_dirty). */
  readonly accountsDirty: boolean;
  /** Every vma that maps the file, by the file pages it covers. */
  readonly i_mmap = new IntervalTree<vm_area_struct>();
  readonly i_mmap_rwsem = new rw_semaphore();
  /** Frame by file page index. */
  readonly page_tree = new Map<number, number>();

  constructor(name: string, options: { swapBacked?: boolean; accountsDirty?: boolean } = {}) {
    this.name = name;
    this.swapBacked = options.swapBacked ?? false;
    this.accountsDirty = options.accountsDirty ?? true;
  }
}
