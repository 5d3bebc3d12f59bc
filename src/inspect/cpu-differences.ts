import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { CONTROL_BITS, ControlRegisters, type ControlState } from "../../arch/x86/cpu/control-registers.ts";
import type { CpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { LEVEL_NAMES } from "../../arch/x86/cpu/entry-layout.ts";
import { WALK_OK } from "../../arch/x86/cpu/page-fault.ts";
import { INSPECT, WalkResult, walk } from "../../arch/x86/cpu/page-walk.ts";
import type { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { hex } from "../text/hex.ts";

const NARROWEST = 36;
const WIDEST = 52;

/** Another CPU on which the same access ends otherwise. */
export interface CpuDifference {
  /** Which one: "on AMD", "at MAXPHYADDR 36 to 51". */
  readonly where: string;
  /** How the access ends there. */
  readonly outcome: string;
}

/** One access: two words of a canonical address, its kind and its mode. */
export interface WalkedAccess {
  readonly lo: number;
  readonly hi: number;
  readonly kind: number;
  readonly mode: number;
}

/** Where the tables are: another CPU may follow an entry out of what the image holds. */
export interface WalkedTables {
  readonly memory: PhysicalMemory;
  /** Whether the image holds the page at this physical address. */
  holds(page: number): boolean;
}

interface Variant {
  readonly where: string;
  readonly model: CpuModel;
}

/**
 * Walks the same tables on CPUs that differ in one property from the one given: its vendor, 1-GiB pages, the width of
 * physical addresses, QEMU's error code for reserved bits. Says where the access ends otherwise; neighbouring widths
 * with the same end are one difference.
 */
export function cpuDifferences(
  tables: WalkedTables,
  control: ControlRegisters,
  access: WalkedAccess,
): CpuDifference[] {
  const here = outcomeOn(tables, control, access);
  const { model } = control;
  const others: CpuDifference[] = [];
  for (const { where, model: other } of singleVariants(model)) {
    const outcome = outcomeOn(tables, controlOn(other, control), access);
    if (outcome !== here) others.push({ where, outcome });
  }
  return [...others, ...widthDifferences(tables, control, access, here)];
}

function singleVariants(model: CpuModel): Variant[] {
  const { vendor, gbPages, rsvdKeepsP } = model;
  return [
    vendor === "intel"
      ? { where: "on AMD", model: { ...model, vendor: "amd" } }
      : { where: "on Intel", model: { ...model, vendor: "intel" } },
    {
      where: gbPages ? "on a CPU without 1-GiB pages" : "on a CPU with 1-GiB pages",
      model: { ...model, gbPages: !gbPages },
    },
    {
      where: rsvdKeepsP ? "in QEMU 7.2 (TCG)" : "on a CPU, unlike QEMU",
      model: { ...model, rsvdKeepsP: !rsvdKeepsP },
    },
  ];
}

function widthDifferences(
  tables: WalkedTables,
  control: ControlRegisters,
  access: WalkedAccess,
  here: string,
): CpuDifference[] {
  const runs: { first: number; last: number; outcome: string }[] = [];
  for (let width = NARROWEST; width <= WIDEST; width++) {
    // Such a root cannot be loaded there.
    if (control.root >= 2 ** width) continue;
    const other = controlOn({ ...control.model, maxPhyAddr: width }, control);
    const outcome = outcomeOn(tables, other, access);
    const run = runs.at(-1);
    if (run !== undefined && run.outcome === outcome) run.last = width;
    else runs.push({ first: width, last: width, outcome });
  }
  return runs
    .filter(({ outcome }) => outcome !== here)
    .map(({ first, last, outcome }) => ({
      where: `at MAXPHYADDR ${first === last ? first : `${first} to ${last}`}`,
      outcome,
    }));
}

/** The same control state on another CPU, which has at least the features that are on. */
function controlOn(model: CpuModel, control: ControlRegisters): ControlRegisters {
  const other = new ControlRegisters(model, control.levels);
  const state: Partial<ControlState> = { pkru: control.pkru, pkrs: control.pkrs };
  for (const { name } of CONTROL_BITS) state[name] = control[name];
  other.set(state);
  other.setRoot(control.root, control.pcid);
  return other;
}

function outcomeOn(tables: WalkedTables, control: ControlRegisters, access: WalkedAccess): string {
  const { lo, hi, kind, mode } = access;
  const result = new WalkResult();
  const code = walk(tables.memory, control, lo, hi, kind, mode, INSPECT, result);
  const missing = result.path.find(({ address }) => !tables.holds(address - (address % PAGE_SIZE)));
  if (missing !== undefined) {
    return `the image does not hold the table at ${hex(missing.address - (missing.address % PAGE_SIZE))}`;
  }
  if (code === WALK_OK) return `physical ${hex(result.physical)}`;
  const { errorCode, reason, level } = result.toFault(kind, mode, control);
  const text = `0x${errorCode.toString(16).padStart(2, "0")}`;
  return `#PF ${text}, ${reason.replaceAll("-", " ")}, at the ${LEVEL_NAMES[level]}`;
}
