import { checked } from "../../../arch/x86/cpu/argument.ts";
import { optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as pgtable from "../../../arch/x86/mm/pgtable.ts";
import * as pgtableTypes from "../../../arch/x86/mm/pgtable_types.ts";
import * as swapEntry from "../../../arch/x86/mm/swap-entry.ts";
import { BITS, ENTRY, FLAG, LEVEL, WORD } from "./cpu-arguments.ts";
import { FLAGS, LINEAR, SWAP_OFFSET, SWAP_TYPE } from "./linux-arguments.ts";

/* The functions of entries: what they say, and values made of them, checked. */

export const is_swap_pte: typeof pgtable.is_swap_pte = checked(pgtable.is_swap_pte, ENTRY);
export const pmd_bad: typeof pgtable.pmd_bad = checked(pgtable.pmd_bad, ENTRY, WORD);
export const pmd_devmap: typeof pgtable.pmd_devmap = checked(pgtable.pmd_devmap, ENTRY);
export const pmd_dirty: typeof pgtable.pmd_dirty = checked(pgtable.pmd_dirty, ENTRY);
export const pmd_huge: typeof pgtable.pmd_huge = checked(pgtable.pmd_huge, ENTRY);
export const pmd_large: typeof pgtable.pmd_large = checked(pgtable.pmd_large, ENTRY);
export const pmd_mkclean: typeof pgtable.pmd_mkclean = checked(pgtable.pmd_mkclean, ENTRY);
export const pmd_none: typeof pgtable.pmd_none = checked(pgtable.pmd_none, ENTRY);
export const pmd_present: typeof pgtable.pmd_present = checked(pgtable.pmd_present, ENTRY);
export const pmd_protnone: typeof pgtable.pmd_protnone = checked(pgtable.pmd_protnone, ENTRY);
export const pmd_soft_dirty: typeof pgtable.pmd_soft_dirty = checked(pgtable.pmd_soft_dirty, ENTRY);
export const pmd_trans_huge: typeof pgtable.pmd_trans_huge = checked(pgtable.pmd_trans_huge, ENTRY);
export const pmd_write: typeof pgtable.pmd_write = checked(pgtable.pmd_write, ENTRY);
export const pmd_wrprotect: typeof pgtable.pmd_wrprotect = checked(pgtable.pmd_wrprotect, ENTRY);
export const pmd_young: typeof pgtable.pmd_young = checked(pgtable.pmd_young, ENTRY);
export const pte_access_permitted: typeof pgtable.pte_access_permitted = checked(
  pgtable.pte_access_permitted,
  ENTRY,
  FLAG,
  optional(BITS),
);
export const pte_clear_savedwrite: typeof pgtable.pte_clear_savedwrite = checked(
  pgtable.pte_clear_savedwrite,
  ENTRY,
);
export const pte_clear_soft_dirty: typeof pgtable.pte_clear_soft_dirty = checked(
  pgtable.pte_clear_soft_dirty,
  ENTRY,
);
export const pte_devmap: typeof pgtable.pte_devmap = checked(pgtable.pte_devmap, ENTRY);
export const pte_dirty: typeof pgtable.pte_dirty = checked(pgtable.pte_dirty, ENTRY);
export const pte_exec: typeof pgtable.pte_exec = checked(pgtable.pte_exec, ENTRY);
export const pte_global: typeof pgtable.pte_global = checked(pgtable.pte_global, ENTRY);
export const pte_huge: typeof pgtable.pte_huge = checked(pgtable.pte_huge, ENTRY);
export const pte_mk_savedwrite: typeof pgtable.pte_mk_savedwrite = checked(pgtable.pte_mk_savedwrite, ENTRY);
export const pte_mkclean: typeof pgtable.pte_mkclean = checked(pgtable.pte_mkclean, ENTRY);
export const pte_mkdevmap: typeof pgtable.pte_mkdevmap = checked(pgtable.pte_mkdevmap, ENTRY);
export const pte_mkdirty: typeof pgtable.pte_mkdirty = checked(pgtable.pte_mkdirty, ENTRY);
export const pte_mkhuge: typeof pgtable.pte_mkhuge = checked(pgtable.pte_mkhuge, ENTRY);
export const pte_mkold: typeof pgtable.pte_mkold = checked(pgtable.pte_mkold, ENTRY);
export const pte_mksoft_dirty: typeof pgtable.pte_mksoft_dirty = checked(pgtable.pte_mksoft_dirty, ENTRY);
export const pte_mkspecial: typeof pgtable.pte_mkspecial = checked(pgtable.pte_mkspecial, ENTRY);
export const pte_mkwrite: typeof pgtable.pte_mkwrite = checked(pgtable.pte_mkwrite, ENTRY);
export const pte_mkyoung: typeof pgtable.pte_mkyoung = checked(pgtable.pte_mkyoung, ENTRY);
export const pte_none: typeof pgtable.pte_none = checked(pgtable.pte_none, ENTRY);
export const pte_present: typeof pgtable.pte_present = checked(pgtable.pte_present, ENTRY);
export const pte_protnone: typeof pgtable.pte_protnone = checked(pgtable.pte_protnone, ENTRY);
export const pte_same: typeof pgtable.pte_same = checked(pgtable.pte_same, ENTRY, ENTRY);
export const pte_savedwrite: typeof pgtable.pte_savedwrite = checked(pgtable.pte_savedwrite, ENTRY);
export const pte_soft_dirty: typeof pgtable.pte_soft_dirty = checked(pgtable.pte_soft_dirty, ENTRY);
export const pte_special: typeof pgtable.pte_special = checked(pgtable.pte_special, ENTRY);
export const pte_unused: typeof pgtable.pte_unused = checked(pgtable.pte_unused, ENTRY);
export const pte_write: typeof pgtable.pte_write = checked(pgtable.pte_write, ENTRY);
export const pte_wrprotect: typeof pgtable.pte_wrprotect = checked(pgtable.pte_wrprotect, ENTRY);
export const pte_young: typeof pgtable.pte_young = checked(pgtable.pte_young, ENTRY);
export const pud_bad: typeof pgtable.pud_bad = checked(pgtable.pud_bad, ENTRY, WORD);
export const pud_huge: typeof pgtable.pud_huge = checked(pgtable.pud_huge, ENTRY);
export const pud_large: typeof pgtable.pud_large = checked(pgtable.pud_large, ENTRY);
export const pud_none: typeof pgtable.pud_none = checked(pgtable.pud_none, ENTRY);
export const pud_present: typeof pgtable.pud_present = checked(pgtable.pud_present, ENTRY);
export const pud_trans_huge: typeof pgtable.pud_trans_huge = checked(pgtable.pud_trans_huge, ENTRY);
export const tableIndex: typeof pgtable.tableIndex = checked(pgtable.tableIndex, LINEAR, LEVEL);

export const vm_get_page_prot: typeof pgtableTypes.vm_get_page_prot = checked(
  pgtableTypes.vm_get_page_prot,
  FLAGS,
);

export const swp_entry: typeof swapEntry.swp_entry = checked(swapEntry.swp_entry, SWAP_TYPE, SWAP_OFFSET);
export const swp_offset: typeof swapEntry.swp_offset = checked(swapEntry.swp_offset, ENTRY);
export const swp_type: typeof swapEntry.swp_type = checked(swapEntry.swp_type, ENTRY);
