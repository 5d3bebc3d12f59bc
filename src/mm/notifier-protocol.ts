import { type Linear, PAGE_SIZE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { comingTo, FINISHED, finished, type KernelThread, NEXT_STEP, stops } from "../../arch/x86/mm/step.ts";
import type { ChangeBranch, mm_struct, NotifierProtocol, Told } from "./mm_types.ts";
import {
  mmu_notifier_invalidate_page,
  mmu_notifier_invalidate_range,
  mmu_notifier_invalidate_range_end,
  mmu_notifier_invalidate_range_start,
} from "./mmu_notifier.ts";

/*
 * How page_mkclean_one and try_to_unmap_one tell secondary MMUs, in the states that mm/rmap.c went through. Exactly
 * those two functions consult it; everything else is shared, so two runs differ only where the protocols do.
 *
 *    a0   unlock, then invalidate_page of each entry            up to 4.10
 *    a1=c invalidate_page of each entry, under its lock         4.11, 4.12, and after the seed's revert
 *    b    one invalidate_range after the walk, bounds wrong     part of the 4.13-rc cycle (aac2fea94f7a)
 *    d    range_start .. range_end around the walk,             4.13 as released, 4.14
 *         invalidate_range of each entry under its lock
 *    e1   as d, invalidate_range only where range_end is late   4.15 and later
 */

/** Tells nothing: what a protocol's call starts from. */
abstract class Silent implements Told {
  readonly mm: mm_struct;

  constructor(mm: mm_struct) {
    this.mm = mm;
  }

  replaced(_address: Linear, _bytes: number, _branch: ChangeBranch): KernelThread<void> {
    return FINISHED;
  }

  cleared(_address: Linear, _bytes: number, _branch: ChangeBranch): KernelThread<void> {
    return FINISHED;
  }

  end(): KernelThread<void> {
    return FINISHED;
  }

  /** The call, behind a place where others may run. */
  protected call(address: Linear, bytes: number): KernelThread<void> {
    const { kernel, id } = this.mm;
    return stops(kernel, "notify", id) ? this.#later(address, bytes) : this.notify(address, bytes);
  }

  *#later(address: Linear, bytes: number): KernelThread<void> {
    yield NEXT_STEP;
    yield* this.notify(address, bytes);
  }

  /** What the call is, for those that make one in the middle of the walk or behind it. */
  protected notify(_address: Linear, _bytes: number): KernelThread<void> {
    return FINISHED;
  }
}

/** a0: the addresses are kept until the walk has dropped its lock. */
class PageAfterWalk extends Silent {
  readonly #due: Linear[] = [];

  override cleared(address: Linear): KernelThread<void> {
    this.#due.push(address);
    return FINISHED;
  }

  override *end(): KernelThread<void> {
    for (const address of this.#due) yield* this.call(address, PAGE_SIZE);
  }

  protected override notify(address: Linear): KernelThread<void> {
    return mmu_notifier_invalidate_page(this.mm, address);
  }
}

/** c: at once, under the page-table lock. */
class PageLocked extends Silent {
  override cleared(address: Linear, bytes: number): KernelThread<void> {
    return this.call(address, bytes);
  }

  protected override notify(address: Linear): KernelThread<void> {
    return mmu_notifier_invalidate_page(this.mm, address);
  }
}

/** b: as many bytes as the page has pages, from the first address of the walk. */
class RangeAfterWalk extends Silent {
  readonly #start: Linear;
  readonly #page: Pfn;
  #due = false;

  constructor(mm: mm_struct, start: Linear, page: Pfn) {
    super(mm);
    this.#start = start;
    this.#page = page;
  }

  override cleared(): KernelThread<void> {
    this.#due = true;
    return FINISHED;
  }

  override end(): KernelThread<void> {
    return this.#due ? this.call(this.#start, 0) : FINISHED;
  }

  protected override notify(start: Linear): KernelThread<void> {
    const end = start + (1 << this.mm.kernel.mem_map.compound_order[this.#page]!);
    mmu_notifier_invalidate_range(this.mm, start, end as Linear);
    return FINISHED;
  }
}

/** d: brackets around the walk, and each entry by itself for those who have invalidate_range only. */
class Bracketed extends Silent {
  readonly #start: Linear;
  readonly #end: Linear;

  constructor(mm: mm_struct, start: Linear, end: Linear) {
    super(mm);
    this.#start = start;
    this.#end = end;
  }

  override cleared(address: Linear, bytes: number, _branch: ChangeBranch): KernelThread<void> {
    return this.call(address, bytes);
  }

  override end(): KernelThread<void> {
    const { kernel, id } = this.mm;
    return stops(kernel, "notify", id) ? this.#endLater() : this.#endNow();
  }

  *#endLater(): KernelThread<void> {
    yield NEXT_STEP;
    yield* this.#endNow();
  }

  #endNow(): KernelThread<void> {
    return mmu_notifier_invalidate_range_end(this.mm, this.#start, this.#end);
  }

  /** invalidate_range of what the entry maps. */
  protected override notify(address: Linear, bytes: number): KernelThread<void> {
    const start = address - (address % bytes);
    mmu_notifier_invalidate_range(this.mm, start as Linear, (start + bytes) as Linear);
    return FINISHED;
  }
}

/** Branches after which another page may stand at the address before range_end comes. */
const LATE: ReadonlySet<ChangeBranch> = new Set(["unused", "swapbacked-mismatch", "lazyfree", "swap"]);

/** e1: invalidate_range only in those branches, before mapping and reference go. */
class BracketedLate extends Bracketed {
  override replaced(address: Linear, bytes: number, branch: ChangeBranch): KernelThread<void> {
    return LATE.has(branch) ? this.call(address, bytes) : FINISHED;
  }

  override cleared(): KernelThread<void> {
    return FINISHED;
  }
}

/** A call that opens its bracket first. */
function bracketed(told: Bracketed, start: Linear, end: Linear): KernelThread<Told> {
  const { kernel, id } = told.mm;
  if (stops(kernel, "notify", id)) return bracketedLater(told, start, end);
  return comingTo(mmu_notifier_invalidate_range_start(told.mm, start, end), told);
}

function* bracketedLater(told: Bracketed, start: Linear, end: Linear): KernelThread<Told> {
  yield NEXT_STEP;
  yield* mmu_notifier_invalidate_range_start(told.mm, start, end);
  return told;
}

/** The protocols in the order in which the kernel had them. */
export const NOTIFIER_PROTOCOLS: readonly NotifierProtocol[] = [
  {
    name: "a0",
    kernels: "up to 4.10",
    begin: (mm) => finished(new PageAfterWalk(mm)),
  },
  {
    name: "c",
    kernels: "4.11, 4.12 and the seed 785373b4c387",
    begin: (mm) => finished(new PageLocked(mm)),
  },
  {
    name: "b",
    kernels: "4.13-rc with aac2fea94f7a",
    begin: (mm, start, _end, page) => finished(new RangeAfterWalk(mm, start, page)),
  },
  {
    name: "d",
    kernels: "4.13, 4.14",
    begin: (mm, start, end) => bracketed(new Bracketed(mm, start, end), start, end),
  },
  {
    name: "e1",
    kernels: "4.15 to 6.1",
    begin: (mm, start, end) => bracketed(new BracketedLate(mm, start, end), start, end),
  },
];

/** The protocol of that name; a1 is the same code as c. Throws RangeError listing the known names. */
export function notifierProtocol(name: string): NotifierProtocol {
  const wanted = name === "a1" ? "c" : name;
  const protocol = NOTIFIER_PROTOCOLS.find((candidate) => candidate.name === wanted);
  if (protocol === undefined) {
    throw new RangeError(`unknown protocol "${name}": known are a0, a1 (= c), c, b, d, e1`);
  }
  return protocol;
}
