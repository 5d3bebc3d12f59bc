import { type Linear, PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { VM_EXEC, VM_READ, VM_WRITE } from "../../arch/x86/mm/pgtable_types.ts";
import type { KernelThread } from "../../arch/x86/mm/step.ts";
import { down_write, up_write } from "./locks.ts";
import { anon_vma, anon_vma_chain, type vm_area_struct, vmaLastPgoff } from "./mm_types.ts";
import { VM_SOFTDIRTY } from "./vma.ts";

function anon_vma_chain_link(vma: vm_area_struct, anon: anon_vma): void {
  const avc = new anon_vma_chain(vma, anon);
  vma.anon_vma_chain.push(avc);
  anon.rb_root.insert(vma.vm_pgoff, vmaLastPgoff(vma), avc);
}

/** Rights may differ between two vmas that share an anon_vma: mprotect made them two, and may make them one again. */
const MAY_DIFFER = VM_READ | VM_WRITE | VM_EXEC | VM_SOFTDIRTY;

/** Whether two vmas, `a` below `b`, could become one if their rights were the same (mm/mmap.c). */
function anon_vma_compatible(a: vm_area_struct, b: vm_area_struct): boolean {
  return (
    a.vm_end === b.vm_start &&
    a.vm_file === b.vm_file &&
    ((a.vm_flags ^ b.vm_flags) & ~MAY_DIFFER) === 0 &&
    b.vm_pgoff === a.vm_pgoff + (b.vm_start - a.vm_start) / PAGE_SIZE
  );
}

/**
 * The anon_vma of a neighbour that has never forked and might be merged with this vma one day, or null: two vmas with
 * different anon_vmas can never be merged (mm/mmap.c). The one above is asked first.
 */
export function find_mergeable_anon_vma(vma: vm_area_struct): anon_vma | null {
  const { vm_mm: mm } = vma;
  const next = mm.vmaAt(vma.vm_end);
  if (next !== null && anon_vma_compatible(vma, next)) {
    const anon = onlyAnonVma(next);
    if (anon !== null) return anon;
  }
  const previous = mm.vmaAt((vma.vm_start - 1) as Linear);
  return previous !== null && anon_vma_compatible(previous, vma) ? onlyAnonVma(previous) : null;
}

/** A vma's anon_vma unless it also belongs to its ancestors': then sharing it would tie the two families. */
function onlyAnonVma(vma: vm_area_struct): anon_vma | null {
  return vma.anon_vma_chain.length === 1 ? vma.anon_vma : null;
}

/**
 * Gives a vma its anon_vma if it has none, a mergeable neighbour's if there is one, and returns it (mm/rmap.c
 * __anon_vma_prepare). Two threads may fault in one vma at once: the one that gets the lock second finds it done.
 */
export function* anon_vma_prepare(vma: vm_area_struct): KernelThread<anon_vma> {
  if (vma.anon_vma !== null) return vma.anon_vma;
  const anon = find_mergeable_anon_vma(vma) ?? new anon_vma();
  const k = vma.vm_mm.kernel;
  yield* down_write(k, anon.root.rwsem);
  if (vma.anon_vma === null) attachAnonVma(vma, anon);
  up_write(k, anon.root.rwsem);
  return vma.anon_vma ?? anon;
}

/** Makes an existing anon_vma the vma's own and links it; in a running kernel with the root locked for writing. */
export function attachAnonVma(vma: vm_area_struct, anon: anon_vma): void {
  if (vma.anon_vma !== null) throw new TypeError("the vma has an anon_vma already");
  vma.anon_vma = anon;
  anon_vma_chain_link(vma, anon);
  anon.degree++;
}

/**
 * Links dst to every anon_vma of src, oldest first; dst adopts one that has no vma of its own and at most one
 * child, which bounds the chains of processes that fork and exit again and again (mm/rmap.c anon_vma_clone).
 */
export function* anon_vma_clone(dst: vm_area_struct, src: vm_area_struct): KernelThread<void> {
  const k = src.vm_mm.kernel;
  const root = rootOf(src);
  if (root !== null) yield* down_write(k, root.rwsem);
  for (const avc of src.anon_vma_chain) {
    anon_vma_chain_link(dst, avc.anon_vma);
    if (dst.anon_vma === null && avc.anon_vma !== src.anon_vma && avc.anon_vma.degree < 2) {
      dst.anon_vma = avc.anon_vma;
    }
  }
  if (dst.anon_vma !== null) dst.anon_vma.degree++;
  if (root !== null) up_write(k, root.rwsem);
}

/** The root of all anon_vmas that a vma is linked to: its family has one. */
function rootOf(vma: vm_area_struct): anon_vma | null {
  return vma.anon_vma_chain[0]?.anon_vma.root ?? null;
}

/** What fork does to a vma's anonymous pages: the child's vma joins the parent's chain and gets its own anon_vma. */
export function* anon_vma_fork(vma: vm_area_struct, pvma: vm_area_struct): KernelThread<void> {
  if (pvma.anon_vma === null) return;
  vma.anon_vma = null;
  yield* anon_vma_clone(vma, pvma);
  if (vma.anon_vma !== null) return;
  const anon = new anon_vma(pvma.anon_vma);
  anon.root.refcount++;
  vma.anon_vma = anon;
  const k = vma.vm_mm.kernel;
  yield* down_write(k, anon.root.rwsem);
  anon_vma_chain_link(vma, anon);
  anon.parent.degree++;
  up_write(k, anon.root.rwsem);
}

/**
 * Takes a vma out of all its anon_vmas, newest first (mm/rmap.c unlink_anon_vmas). Throws TypeError if one that is
 * empty then still counts a vma or a child: the kernel warns.
 */
export function* unlink_anon_vmas(vma: vm_area_struct): KernelThread<void> {
  const root = rootOf(vma);
  if (root === null) return;
  const k = vma.vm_mm.kernel;
  yield* down_write(k, root.rwsem);
  const emptied: anon_vma[] = [];
  for (const avc of [...vma.anon_vma_chain].reverse()) {
    avc.anon_vma.rb_root.remove(vma.vm_pgoff, avc);
    if (avc.anon_vma.rb_root.size > 0) continue;
    avc.anon_vma.parent.degree--;
    emptied.push(avc.anon_vma);
  }
  if (vma.anon_vma !== null) vma.anon_vma.degree--;
  up_write(k, root.rwsem);
  vma.anon_vma_chain.length = 0;
  vma.anon_vma = null;
  for (const anon of emptied) {
    if (anon.degree !== 0) throw new TypeError(`an anon_vma without any vma has degree ${anon.degree}`);
    put_anon_vma(anon);
  }
}

/** Drops a reference; the last one of a child gives back the child's reference on the root. */
export function put_anon_vma(anon: anon_vma): void {
  if (--anon.refcount === 0 && anon.root !== anon) put_anon_vma(anon.root);
}
