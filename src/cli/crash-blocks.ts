import { ACCESS_READ, MODE_SUPERVISOR } from "../../arch/x86/cpu/access-rights.ts";
import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { crashVtop } from "../dialects/crash.ts";
import type { LeafRange } from "../inspect/leaf-ranges.ts";
import { walkReport } from "../inspect/walk-report.ts";
import type { Image } from "./image.ts";
import type { MachineState } from "./registers.ts";
import { walkSource } from "./walk-source.ts";

/** The lines of crash's `vtop` for the first address of each range that maps something, with empty lines between. */
export function* crashBlocks(
  image: Image,
  state: MachineState,
  control: ControlRegisters,
  pteFormat: PteFormat,
  ranges: Iterable<LeafRange>,
): Generator<string> {
  const source = walkSource(image, state, control, pteFormat);
  const access = { kind: ACCESS_READ, mode: MODE_SUPERVISOR } as const;
  let first = true;
  for (const { start, rights } of ranges) {
    if (rights.reserved) continue;
    if (!first) yield "";
    first = false;
    yield* crashVtop(walkReport(source, BigInt(start), access), control.root, pteFormat);
  }
}
