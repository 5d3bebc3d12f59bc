import { expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { page_mkclean } from "../../../src/mm/page_mkclean.ts";
import { Scene } from "../../support/scene.ts";

const at = 0x7f00_0020_0000;

test("a listener that throws leaves no lock held and no bracket open", () => {
  const scene = new Scene({ notifiers: "d" });
  const { kernel } = scene;
  const mm = scene.mm();
  const file = scene.file();
  const vma = scene.vma(mm, { at, length: 0x1000, file, shared: true });
  scene.mapFile(vma, at, scene.page(0x345), 0x8000_0000_0034_5867n);
  let broken = true;
  scene.listen(mm, "broken", {
    invalidate_range: () => {
      if (broken) {
        broken = false;
        throw new RangeError("broken listener");
      }
    },
  });
  expect(() => kernel.run(page_mkclean(kernel, Pfn.of(0x345)))).toThrow("broken listener");
  expect([kernel.current.locksHeld, file.i_mmap_rwsem.readers, mm.openBrackets]).toEqual([0, 0, 0]);
});
