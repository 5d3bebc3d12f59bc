import { expect, test } from "vitest";
import { StoryTeller } from "../../../../src/audit/story/story.ts";
import { page_mkclean } from "../../../../src/mm/page_mkclean.ts";
import { kernelOpening } from "../../../../src/trace/opening.ts";
import type { TraceRecord } from "../../../../src/trace/record.ts";
import { LiveWorld } from "../../../../src/trace/world.ts";
import { AT, AuditScene, ENTRY, PFN } from "../../../support/audit-scene.ts";

/** Five address spaces map the file, some of them the page; the lines that tell of page_mkclean_one. */
function cleaned(mappedIn: readonly number[]): string[] {
  const scene = new AuditScene({ notifiers: "c" });
  const file = scene.file();
  const page = scene.page(PFN);
  for (let i = 0; i < 5; i++) {
    const vma = scene.vma(scene.mm(`app-${i}`, []), { at: AT, length: 0x1000, shared: true, file });
    if (mappedIn.includes(i)) scene.mapFile(vma, AT, page, ENTRY);
  }
  const { kernel, machine } = scene;
  const run = { world: new LiveWorld(machine, kernel.format), opening: kernelOpening(kernel) };
  const teller = new StoryTeller(run, page);
  kernel.records.listen((record) => teller.observe(record as TraceRecord));
  kernel.run(page_mkclean(kernel, page));
  return teller.story.lines.map(({ text }) => text).filter((text) => text.startsWith("page_mkclean_one"));
}

test("calls that end with nothing told in between share a line, as long as they return the same", () => {
  expect(cleaned([3])).toEqual([
    "page_mkclean_one in app-0 and 2 more: each returns 0",
    "page_mkclean_one in app-3",
    "page_mkclean_one in app-3 returns 1",
    "page_mkclean_one in app-4 returns 0",
  ]);
});
