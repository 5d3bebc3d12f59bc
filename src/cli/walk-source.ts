import type { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { PteFormat } from "../../arch/x86/mm/pte-format.ts";
import { ImageMemory } from "../formats/image-memory.ts";
import type { WalkSource } from "../inspect/walk-report.ts";
import type { Image } from "./image.ts";
import type { MachineState } from "./registers.ts";

/** What a walk of this image reads. */
export function walkSource(
  { memory, core }: Image,
  { mark }: MachineState,
  control: ControlRegisters,
  pteFormat: PteFormat,
): WalkSource {
  const holds = (page: number): boolean => core.holds(page);
  if (mark === null) return { memory, control, pteFormat, holds };
  const stripped = new ImageMemory(core, mark.mask);
  return { memory: stripped, control, pteFormat, holds, marked: { memory, ...mark } };
}
