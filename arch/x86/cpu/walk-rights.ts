import { judgeKey, permissionIndex, RIGHT_KEY_SHIFT, RIGHT_U, RIGHT_W, RIGHT_XD } from "./access-rights.ts";
import type { ControlRegisters } from "./control-registers.ts";

// A module's own const is a constant to V8, an imported one is read from its cell at each use.
const W = RIGHT_W;
const U = RIGHT_U;
const XD = RIGHT_XD;
const KEY_SHIFT = RIGHT_KEY_SHIFT;

/** Raw rights from the AND of the low words above the leaf, the OR of all high words, and the leaf itself. */
export function rightsOf(above: number, anyHi: number, lo: number, hi: number): number {
  const key = ((hi >>> 27) & 0xf) << KEY_SHIFT;
  // XD stands 28 bits above its right.
  return (above & lo & (W | U)) | ((anyHi >>> 28) & XD) | shadowStackRight(above, lo) | key;
}

/** RIGHT_SHADOW_STACK for R/W above a leaf with R/W=0 and D=1, else 0. */
export function shadowStackRight(above: number, lo: number): number {
  // D stands five bits above R/W, the right three.
  return (above & ~lo & (lo >>> 5) & W) << 3;
}

/** DENIED_* bits for raw rights under the current control state: the check of walks and TLB hits alike. */
export function deniedBy(control: ControlRegisters, rights: number, kind: number, mode: number): number {
  const denied = control.permissions[permissionIndex(rights, kind, mode)]!;
  return control.keys ? denied | judgeKey(rights, kind, mode, control) : denied;
}
