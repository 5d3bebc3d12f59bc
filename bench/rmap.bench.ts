import type { Pfn } from "../arch/x86/cpu/address.ts";
import { page_mkclean } from "../src/mm/page_mkclean.ts";
import { try_to_unmap } from "../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../src/mm/ttu-flags.ts";
import { cpuSeconds } from "./cpu-seconds.ts";
import { bytesPerOperation } from "./garbage.ts";
import { PAGES, remap, sharedFileScene } from "./scene.ts";
import { suite } from "./suite.ts";

const PASSES = 15;

/** A page mapped once, no listener, nothing else runnable; the time to map it again is measured and stands beside. */
export default async function rmapBench(): Promise<void> {
  const scene = sharedFileScene();
  const { kernel, pages } = scene;
  const functions: Readonly<Record<string, (page: Pfn) => void>> = {
    page_mkclean: (page) => void kernel.run(page_mkclean(kernel, page)),
    try_to_unmap: (page) => void kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS)),
  };
  const all = (work: (page: Pfn) => void) => {
    remap(scene);
    for (const page of pages) work(page);
  };
  await suite(`rmap over ${PAGES} pages mapped once (the first row is part of the others)`, [
    { name: "mapping the page again", operations: PAGES, run: () => remap(scene) },
    ...Object.entries(functions).map(([name, work]) => ({ name, operations: PAGES, run: () => all(work) })),
  ]);
  console.log("\nthe same without the mapping: CPU time, the least of some passes, and what is allocated");
  for (const [name, work] of Object.entries(functions)) {
    const passes = Array.from({ length: PASSES }, () => {
      remap(scene);
      return cpuSeconds(() => pages.forEach(work));
    });
    remap(scene);
    const bytes = bytesPerOperation((number) => work(pages[number]!));
    const ns = ((Math.min(...passes) * 1e9) / PAGES).toFixed(0);
    console.log(`  ${name}  ${ns.padStart(5)} ns  ${bytes.toFixed(0).padStart(5)} bytes`);
  }
}
