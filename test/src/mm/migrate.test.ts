import { expect, test } from "vitest";
import { Pfn } from "../../../arch/x86/cpu/address.ts";
import { remove_migration_ptes } from "../../../src/mm/migrate.ts";
import { Scene } from "../../support/scene.ts";

const at = 0x7f00_0020_0000;
const PFN = Pfn.of(0x345);

/** A page whose only mapping is a migration entry, and what a walk over it holds afterwards. */
function migrating() {
  const scene = new Scene();
  const { kernel } = scene;
  const vma = scene.vma(scene.mm(), { at, length: 0x1000 });
  scene.mapAnon(vma, at, scene.page(PFN), (BigInt(PFN) << 14n) | (31n << 9n));
  const held = () => [kernel.current.locksHeld, vma.anon_vma?.root.rwsem.readers];
  return { scene, kernel, held };
}

test("a migration entry for a page that is not locked is a bug, and leaves no lock held", () => {
  const { kernel, held } = migrating();
  kernel.mem_map.ClearPageLocked(PFN);
  expect(() => kernel.run(remove_migration_ptes(kernel, PFN, PFN, false))).toThrow(/which is not locked/);
  expect(held()).toEqual([0, 0]);
});

test("so does an observer that throws under the page-table lock", () => {
  const { kernel, held } = migrating();
  kernel.attach((record) => {
    if (record.kind === "rmap-added") throw new RangeError("stopped");
  });
  expect(() => kernel.run(remove_migration_ptes(kernel, PFN, PFN, false))).toThrow("stopped");
  expect(held()).toEqual([0, 0]);
});
