import type { PteLayout } from "../../arch/x86/mm/pte-format.ts";
import { pteLayout } from "../../arch/x86/mm/pte-format.ts";

/**
 * What makes one Linux differ from another, as data: how its entries are laid out and how it tells secondary MMUs. The
 * algorithm on them is 4.13's in all.
 */
export interface KernelModel {
  readonly name: string;
  readonly layout: PteLayout;
  /** Name of the notifier protocol. */
  readonly notifiers: string;
}

function model(name: string, layout: string, notifiers: string): KernelModel {
  return { name, layout: pteLayout(layout), notifiers };
}

/** The kernels that are known, by name. */
export const KERNEL_MODELS: readonly KernelModel[] = [
  model("linux-4.13.4-seed", "linux-4.13", "c"),
  model("linux-4.13", "linux-4.13", "d"),
  model("linux-4.14", "linux-4.14", "d"),
  model("linux-6.1", "linux-6.1", "e1"),
];

/** The model of that name. Throws RangeError listing the known ones. */
export function kernelModel(name: string): KernelModel {
  const found = KERNEL_MODELS.find((each) => each.name === name);
  if (found === undefined) {
    const known = KERNEL_MODELS.map((each) => each.name).join(", ");
    throw new RangeError(`unknown kernel "${name}": known are ${known}`);
  }
  return found;
}
