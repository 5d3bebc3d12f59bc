import { page_mkclean } from "../src/mm/page_mkclean.ts";
import { try_to_unmap } from "../src/mm/try_to_unmap.ts";
import { TTU_BATCH_FLUSH, TTU_IGNORE_ACCESS } from "../src/mm/ttu-flags.ts";
import { PAGES, remap, sharedFileScene } from "./scene.ts";
import { suite } from "./suite.ts";

/** A page mapped once, no listener, nothing else runnable; the time to map it again is measured and stands beside. */
export default async function rmapBench(): Promise<void> {
  const scene = sharedFileScene();
  const { kernel, pages } = scene;
  await suite(`rmap over ${PAGES} pages mapped once (the first row is part of the others)`, [
    { name: "mapping the page again", operations: PAGES, run: () => remap(scene) },
    {
      name: "page_mkclean",
      operations: PAGES,
      run() {
        remap(scene);
        for (const page of pages) kernel.run(page_mkclean(kernel, page));
      },
    },
    {
      name: "try_to_unmap",
      operations: PAGES,
      run() {
        remap(scene);
        for (const page of pages) kernel.run(try_to_unmap(kernel, page, TTU_BATCH_FLUSH | TTU_IGNORE_ACCESS));
      },
    },
  ]);
}
