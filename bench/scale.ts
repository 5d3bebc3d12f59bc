import { type Pfn, Slot } from "../arch/x86/cpu/address.ts";
import { ZERO_ENTRY } from "../arch/x86/cpu/entry.ts";
import { Machine } from "../arch/x86/cpu/machine.ts";
import { flush_tlb_mm, switch_mm } from "../arch/x86/mm/tlb.ts";
import { unlink_anon_vmas } from "../src/mm/anon_vma.ts";
import { dropMm } from "../src/mm/drop-mm.ts";
import { IntervalTree } from "../src/mm/interval-tree.ts";
import { Kernel } from "../src/mm/kernel.ts";
import { PG } from "../src/mm/mem_map.ts";
import type { vm_area_struct } from "../src/mm/mm_types.ts";
import { page_mkclean } from "../src/mm/page_mkclean.ts";
import { add_to_swap } from "../src/mm/swapfile.ts";
import { try_to_unmap } from "../src/mm/try_to_unmap.ts";
import { TTU_IGNORE_ACCESS } from "../src/mm/ttu-flags.ts";
import { Scene } from "../test/support/scene.ts";
import { sharedFileScene } from "./scene.ts";

/** Work that is done for many of something: sets it up for so many, and returns what is measured. */
export interface Growth {
  readonly name: string;
  /** What there are so many of. */
  readonly per: "page" | "sharer" | "CPU" | "interval";
  readonly sizes: readonly number[];
  prepare(size: number): () => void;
}

const SHARERS = [1250, 2500, 5000, 10_000] as const;
const PAGES = [4096, 16_384, 65_536] as const;
const CPUS = [64, 128, 256] as const;
/** Flushes in one measurement: one alone is too short. */
const FLUSHES = 200;
const AT = 0x7f00_0000_0000;
const FRAME = 0x100;
/** Of the root's entry for that address. */
const ROOT_INDEX = 254;

/** One anonymous page of a parent, which has forked so many children. */
class Family {
  readonly scene = new Scene({ memory: "256MiB", cpus: 1 });
  readonly page: Pfn = this.scene.page(FRAME);
  readonly parent: vm_area_struct;
  readonly children: vm_area_struct[] = [];

  constructor() {
    const { scene, page } = this;
    this.parent = scene.vma(scene.mm(), { at: AT, length: 0x1000 });
    scene.mapAnon(this.parent, AT, page, BigInt(FRAME * 4096) | 0x67n);
  }

  fork(): void {
    const { scene, parent, children, page } = this;
    const child = scene.forkVma(parent, scene.kernel.createMm());
    scene.mapAnon(child, AT, page, BigInt(FRAME * 4096) | 0x65n);
    children.push(child);
  }

  /** Every mapping of the page goes, to swap. */
  unmap(): void {
    const { page } = this;
    const { kernel } = this.scene;
    kernel.mem_map.setFlag(page, PG.locked);
    if (!add_to_swap(kernel, page) || !kernel.run(try_to_unmap(kernel, page, TTU_IGNORE_ACCESS))) {
      throw new Error("the page is mapped still");
    }
  }

  /** A child whose page is gone ends. */
  exit(child: vm_area_struct): void {
    const { kernel } = this.scene;
    const { vm_mm: mm } = child;
    kernel.run(unlink_anon_vmas(child));
    mm.mmap.length = 0;
    kernel.plantEntry(Slot.of(mm.pgd + 8 * ROOT_INDEX), ZERO_ENTRY);
    dropMm(mm);
  }
}

function family(size: number): Family {
  const made = new Family();
  for (let i = 0; i < size; i++) made.fork();
  return made;
}

/** A machine of so many CPUs, all of which have one mm loaded. */
function flushing(cpus: number): () => void {
  const kernel = new Kernel(new Machine({ memory: "4MiB", cpus }));
  const mm = kernel.createMm();
  for (let cpu = 0; cpu < cpus; cpu++) switch_mm(kernel, cpu, mm);
  return () => {
    for (let i = 0; i < FLUSHES; i++) kernel.run(flush_tlb_mm(mm));
  };
}

export const GROWTHS: readonly Growth[] = [
  {
    name: "page_mkclean of pages mapped once",
    per: "page",
    sizes: PAGES,
    prepare(size) {
      const { kernel, pages } = sharedFileScene(size);
      return () => {
        for (const page of pages) kernel.run(page_mkclean(kernel, page));
      };
    },
  },
  {
    name: "fork of the sharers of one page",
    per: "sharer",
    sizes: SHARERS,
    prepare(size) {
      const empty = new Family();
      return () => {
        for (let i = 0; i < size; i++) empty.fork();
      };
    },
  },
  {
    name: "try_to_unmap of the page that they share",
    per: "sharer",
    sizes: SHARERS,
    prepare(size) {
      const full = family(size);
      return () => full.unmap();
    },
  },
  {
    name: "exit of the sharers",
    per: "sharer",
    sizes: SHARERS,
    prepare(size) {
      const full = family(size);
      full.unmap();
      return () => {
        for (const child of full.children) full.exit(child);
      };
    },
  },
  {
    name: "equal starts into an interval tree, and out",
    per: "interval",
    sizes: SHARERS,
    prepare(size) {
      return () => {
        const tree = new IntervalTree<number>();
        for (let i = 0; i < size; i++) tree.insert(5, 9, i);
        for (let i = 0; i < size; i++) tree.remove(5, (i * 7) % size);
      };
    },
  },
  {
    name: `flush_tlb_mm of an mm on all CPUs, ${FLUSHES} times`,
    per: "CPU",
    sizes: CPUS,
    prepare: flushing,
  },
];

/**
 * The power of the size that the times follow: the slope of the straight line through their logarithms, by least squares.
 * 1 for what takes as long for each, however many there are.
 */
export function exponentOf(sizes: readonly number[], seconds: readonly number[]): number {
  const xs = sizes.map(Math.log);
  const ys = seconds.map(Math.log);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(xs), mean(ys)];
  const over = xs.reduce((sum, each, i) => sum + (each - x) * (ys[i]! - y), 0);
  return over / xs.reduce((sum, each) => sum + (each - x) ** 2, 0);
}
