import { CPU_MODELS, type CpuModel, checkModel } from "../../../arch/x86/cpu/cpu-model.ts";
import {
  PteFormat as Format,
  PTE_LAYOUTS,
  type PteFormat,
  type PteLayout,
  type SwapTypes,
} from "../../../arch/x86/mm/pte-format.ts";
import { checkText } from "./encodings.ts";
import { fieldsOf, Misfit, oneOf, refuse, wholeOf } from "./misfit.ts";

/* CPU models and entry formats in headers: those that this version has by name, others in full. */

/** What a value of an object is: true or false, a text, one of some, a number up to a bound; `null` where it may be. */
type Shape =
  | "flag"
  | "text"
  | "text or nothing"
  | { readonly oneOf: readonly unknown[] }
  | { readonly upTo: number; readonly orNull?: true };
type Shapes<T> = { readonly [K in keyof Required<T>]: Shape };

const FLAG_OR_NOTHING = { oneOf: [true, false, undefined] };
const BIT = { upTo: 63 };
const BIT_OR_NULL = { upTo: 63, orNull: true } as const;
const TYPE = { upTo: 32 };
const TYPE_OR_NULL = { upTo: 32, orNull: true } as const;

const MODEL: Shapes<CpuModel> = {
  name: "text",
  vendor: { oneOf: ["intel", "amd"] },
  maxPhyAddr: { upTo: 52 },
  linearWidth: { oneOf: [48, 57] },
  gbPages: "flag",
  nx: "flag",
  pge: "flag",
  pcid: "flag",
  invpcid: "flag",
  smep: "flag",
  smap: "flag",
  pku: "flag",
  pks: "flag",
  la57: "flag",
  lam: "flag",
  lass: "flag",
  shstk: "flag",
  invlpgbPages: { upTo: 0xffff, orNull: true },
  tce: "flag",
  uai: "flag",
  registerBits: "text or nothing",
  upperAOnFault: { oneOf: ["set", "clear"] },
  leaf1GAOnFault: "flag",
  rsvdKeepsP: "flag",
  rmwIsWrite: "flag",
  stackNoncanonical: { oneOf: ["#SS", "#GP"] },
  wholeAccessCanonical: "flag",
  gbPagesGated: "flag",
  amdNonleafG: FLAG_OR_NOTHING,
  confirmsFaults: FLAG_OR_NOTHING,
  adUpdate: { oneOf: ["locked64", "locked32", "plain"] },
  keyPage: { oneOf: ["path", "above-leaf", "every"] },
  keyStopsSupervisor: "flag",
  acExemptsImplicit: { oneOf: ["never", "cpl0", "always"] },
  honoursGlobal: "flag",
  tagsPcid: "flag",
  pcideGated: "flag",
  memoryTypeMerge: { oneOf: ["manual", "bochs"] },
  dirtyOnReadOnly: "flag",
  strayAD: "flag",
  invlpgKeepsGlobal: "flag",
};

const SWAP_TYPES: Shapes<SwapTypes> = {
  swapfiles: TYPE,
  hwpoison: TYPE,
  migrationRead: TYPE,
  migrationReadExclusive: TYPE_OR_NULL,
  migrationWrite: TYPE,
  marker: TYPE_OR_NULL,
  swapinError: TYPE_OR_NULL,
};

const SWAP: Shapes<PteLayout["swap"]> = {
  typeBit: BIT,
  offsetBit: BIT,
  offsetInverted: "flag",
  softDirtyBit: { upTo: 31 },
  uffdWpBit: BIT_OR_NULL,
  exclusiveBit: BIT_OR_NULL,
};

const LAYOUT: Shapes<Omit<PteLayout, "swap" | "swapTypes">> = {
  name: "text",
  kernels: "text",
  physicalBits: { oneOf: [46, 52] },
  invertsNotPresent: "flag",
  uffdWp: "flag",
  savedDirtyBit: BIT_OR_NULL,
  keepsLateBits: "flag",
  decodeOnly: "flag",
};

/** A CPU model in a header: a preset's name, or all of it. */
export function modelJson(model: CpuModel): unknown {
  return Object.hasOwn(CPU_MODELS, model.name) && sameJson(CPU_MODELS[model.name], model)
    ? model.name
    : { ...model };
}

/** The CPU model that a header has. Throws Misfit. */
export function modelOf(json: unknown): CpuModel {
  if (typeof json === "string") {
    const preset = Object.hasOwn(CPU_MODELS, json) ? CPU_MODELS[json] : undefined;
    return preset ?? refuse("model", `one of ${Object.keys(CPU_MODELS).join(", ")}, or a whole model`, json);
  }
  const model = objectOf(json, "model", MODEL) as unknown as CpuModel;
  try {
    checkModel(model);
  } catch (error) {
    throw new Misfit(`a CPU that can be: ${(error as Error).message}`);
  }
  return model;
}

/** An entry format in a header: its layout, by name where it is a known one, and its swap types; null for none. */
export function formatJson(format: PteFormat | null): unknown {
  if (format === null) return null;
  const { layout, types } = format;
  const known = Object.hasOwn(PTE_LAYOUTS, layout.name) && sameJson(PTE_LAYOUTS[layout.name], layout);
  return { layout: known ? layout.name : layout, swapTypes: types };
}

/** The entry format that a header has, or null. Throws Misfit. */
export function formatOf(json: unknown): PteFormat | null {
  if (json === null) return null;
  const fields = fieldsOf(json, "entries");
  const types = objectOf(fields.get("swapTypes"), "entries.swapTypes", SWAP_TYPES) as unknown as SwapTypes;
  return new Format(layoutOf(fields.get("layout")), types);
}

function layoutOf(json: unknown): PteLayout {
  if (typeof json === "string") {
    const known = Object.hasOwn(PTE_LAYOUTS, json) ? PTE_LAYOUTS[json] : undefined;
    const names = Object.keys(PTE_LAYOUTS).join(", ");
    return known ?? refuse("entries.layout", `one of ${names}, or a whole layout`, json);
  }
  const fields = fieldsOf(json, "entries.layout");
  return {
    ...objectOf(json, "entries.layout", LAYOUT),
    swap: objectOf(fields.get("swap"), "entries.layout.swap", SWAP),
    swapTypes: objectOf(fields.get("swapTypes"), "entries.layout.swapTypes", SWAP_TYPES),
  } as unknown as PteLayout;
}

/** The values of those names; others, as of a later version, are left out. */
function objectOf(
  json: unknown,
  what: string,
  shapes: Readonly<Record<string, Shape>>,
): Record<string, unknown> {
  const fields = fieldsOf(json, what);
  const values: Record<string, unknown> = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const value = valueIn(fields.get(name), `${what}.${name}`, shape);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function valueIn(value: unknown, what: string, shape: Shape): unknown {
  if (shape === "flag") return oneOf(value, what, [true, false]);
  if (shape === "text or nothing" && value === undefined) return undefined;
  if (shape === "text" || shape === "text or nothing") return checkText(value, what);
  if ("upTo" in shape) return value === null && shape.orNull ? null : wholeOf(value, what, 0, shape.upTo);
  if (value === undefined && shape.oneOf.includes(undefined)) return undefined;
  return oneOf(value, what, shape.oneOf);
}

/** Whether two are the same data, whatever the order of their names. */
function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a, sorted) === JSON.stringify(b, sorted);
}

function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
