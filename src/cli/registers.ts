import { type ControlRegisters, controlFromRegisters } from "../../arch/x86/cpu/control-registers.ts";
import { type CpuModel, cpuModel } from "../../arch/x86/cpu/cpu-model.ts";
import { PAT_RESET } from "../../arch/x86/cpu/pat.ts";
import { isBitSet } from "../formats/elf-note.ts";
import { quote } from "../formats/format-error.ts";
import { hex } from "../text/hex.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";
import type { Image } from "./image.ts";
import { parseHex } from "./options.ts";

/** The widest CPU: a bit that is reserved here is reserved everywhere. */
const DEFAULT_CPU = "intel-sapphire-rapids";
/** CR0, CR4 and EFER of an image that does not say: long mode as every kernel sets it up, write protection and XD. */
const USUAL = { cr0: 0x8001_0033n, cr4: 0xa0n, efer: 0xd01n } as const;
const CR4_LA57_BIT = 12;
const CR4_LA57 = 1n << BigInt(CR4_LA57_BIT);
const CR4_PKE = 1n << 22n;
const CR4_PKS = 1n << 24n;
const EFER_NXE = 1n << 11n;
const CR3_LAM = 3n << 61n;
/** What Linux writes to IA32_PAT: WB, WC, UC-, UC, WB, WP, UC-, WT. */
const PAT_LINUX = 0x0407_0506_0007_0106n;
const MAX_KEYS = 2n ** 32n;
const DEFAULT = "default";

/** The options that choose a CPU. */
export const MODEL_OPTIONS = {
  cpu: { value: "MODEL", help: `whose rules judge reserved bits (default ${DEFAULT_CPU}, the widest)` },
  maxphyaddr: { value: "N", help: "with physical addresses of N bits, 36 to 52, instead of the model's own" },
} as const satisfies Record<string, OptionSpec>;

/** The options that say in which state the CPU is; what they leave open the image says, or kernels' habit. */
export const STATE_OPTIONS = {
  cr0: { value: "X", help: "CR0, as the other registers in hexadecimal; default what the image says" },
  cr4: { value: "X", help: "CR4: bit 12 is five levels, 20 SMEP, 21 SMAP, 22 PKE, 24 PKS" },
  efer: { value: "X", help: "IA32_EFER: bit 11 is NXE" },
  "no-nx": { help: "EFER.NXE=0: bit 63 of every entry is reserved" },
  pkru: { value: "X", help: "PKRU, which no image holds (default 0: no key denies anything)" },
  pkrs: { value: "X", help: "IA32_PKRS (default 0)" },
  pat: { value: "X", help: "IA32_PAT (default Linux's where the kernel is Linux, else that of a reset)" },
  cbit: { value: "N", help: "AMD SEV: bit N, 32 to 51, of CR3 and entries marks encrypted memory" },
  "shared-bit": { value: "N", help: "Intel TDX: bit N, 32 to 51, of entries marks shared memory" },
} as const satisfies Record<string, OptionSpec>;

/** A value, and who says so. */
export interface Sourced {
  readonly value: bigint;
  readonly from: string;
}

/** Names of the registers that are assumed, in the order in which they are said. */
const REGISTERS = ["cr0", "cr4", "efer", "pkru", "pkrs", "pat"] as const;
type Register = (typeof REGISTERS)[number];

/** The bit by which a guest marks pages; it is no part of an address. */
export interface PageMark {
  readonly bit: number;
  /** The bit in the high word of an entry. */
  readonly mask: number;
  /** What a page is with the bit set, and with it clear. */
  readonly set: "encrypted" | "shared";
  readonly clear: "not encrypted" | "private";
}

/** The state that an image's tables are judged in, each value with its source. */
export interface MachineState {
  readonly registers: Readonly<Record<Register, Sourced>>;
  readonly model: CpuModel;
  readonly modelFrom: string;
  readonly levels: 4 | 5;
  readonly mark: PageMark | null;
}

/** The CPU of --cpu and --maxphyaddr. Throws RangeError that lists the models, and UsageError. */
export function modelOf(parsed: ParsedArguments): CpuModel {
  const model = cpuModel(parsed.text("cpu") ?? DEFAULT_CPU);
  const width = parsed.text("maxphyaddr");
  if (width === undefined) return model;
  const maxPhyAddr = /^\d{2}$/.test(width) ? Number(width) : 0;
  if (maxPhyAddr < 36 || maxPhyAddr > 52) {
    throw new UsageError(`--maxphyaddr ${quote(width)}: give a number of bits from 36 to 52`);
  }
  return { ...model, name: `${model.name} with MAXPHYADDR ${maxPhyAddr}`, maxPhyAddr };
}

/** Collects the state from the options, the image and habit, in this order. Throws UsageError and RangeError. */
export function stateOf(image: Image, vcpu: number, parsed: ParsedArguments): MachineState {
  const linux = image.manifest !== null || parsed.text("kernel") !== undefined;
  return stateFrom(saidBy(image, vcpu), linux, parsed);
}

/**
 * Collects the state from the options, what something else said, and habit, in this order; with Linux's PAT where the
 * kernel is Linux. Throws UsageError and RangeError.
 */
export function stateFrom(said: SaidRegisters | null, linux: boolean, parsed: ParsedArguments): MachineState {
  const levels = levelsOf(said, parsed);
  const usual = { ...USUAL, cr4: USUAL.cr4 | (levels === 5 ? CR4_LA57 : 0n) };
  const control = (name: "cr0" | "cr4" | "efer"): Sourced =>
    optionOf(parsed, name) ?? said?.[name] ?? { value: usual[name], from: DEFAULT };
  const none = { value: 0n, from: DEFAULT };
  const pat = linux
    ? { value: PAT_LINUX, from: "Linux's" }
    : { value: PAT_RESET, from: "default, as after a reset" };
  return {
    registers: {
      cr0: control("cr0"),
      cr4: control("cr4"),
      efer: withoutNx(control("efer"), parsed),
      pkru: optionOf(parsed, "pkru", MAX_KEYS) ?? said?.pkru ?? none,
      pkrs: optionOf(parsed, "pkrs", MAX_KEYS) ?? none,
      pat: optionOf(parsed, "pat") ?? pat,
    },
    model: modelOf(parsed),
    modelFrom: parsed.text("cpu") === undefined ? DEFAULT : "--cpu",
    levels,
    mark: markOf(parsed),
  };
}

/** The control state of a CPU with the given CR3. Throws RangeError for a state that the model cannot be in. */
export function controlOf({ registers, model, mark }: MachineState, cr3: bigint): ControlRegisters {
  const root = withoutMark(cr3, mark) & 0xf_ffff_ffff_f000n;
  if (root >> BigInt(model.maxPhyAddr) !== 0n) {
    const width = `MAXPHYADDR ${model.maxPhyAddr} of ${model.name}`;
    throw new RangeError(`root ${hex(root)}: it does not fit ${width}`);
  }
  const { cr0, cr4, efer, pkru, pkrs, pat } = registers;
  const control = controlFromRegisters(model, {
    cr0: cr0.value,
    cr3: withoutMark(cr3, mark),
    cr4: cr4.value,
    efer: efer.value,
  });
  const results = [
    control.set({ pkru: Number(pkru.value), pkrs: Number(pkrs.value) }),
    control.setPat(pat.value),
  ];
  for (const result of results) if (!result.ok) throw new RangeError(result.why);
  return control;
}

/** CR3 or an address without the bit that marks pages. */
export function withoutMark(value: bigint, mark: PageMark | null): bigint {
  return mark === null ? value : value & ~(1n << BigInt(mark.bit));
}

/** The line that says what was assumed, and who says so. */
export function stateLine(state: MachineState, cr3: bigint): string {
  const { registers, model, modelFrom, mark } = state;
  const parts: Said2[] = REGISTERS.map((name) => ({
    text: `${name.toUpperCase()} ${hex(registers[name].value)}`,
    from: registers[name].from,
  }));
  if (mark !== null) {
    parts.push({ text: `bit ${mark.bit} set: ${mark.set}`, from: `--${optionOfMark(mark)}` });
  }
  parts.push({ text: `CPU ${model.name}`, from: modelFrom });
  const groups: { texts: string[]; from: string }[] = [];
  for (const { text, from } of parts) {
    const last = groups.at(-1);
    if (last?.from === from) last.texts.push(text);
    else groups.push({ texts: [text], from });
  }
  const said = groups.map(({ texts, from }) => `${texts.join(", ")} (${from})`);
  return ["assumed: ", said.join("; "), ...doubts(state, cr3).map((doubt) => `; ${doubt}`)].join("");
}

/** The same with stable field names. */
export function stateObject({ registers, mark }: MachineState): object {
  const values = REGISTERS.map((name) => {
    const { value, from } = registers[name];
    return [name, { value: hex(value), from }];
  });
  return { ...Object.fromEntries(values), ...(mark === null ? {} : { [optionOfMark(mark)]: mark.bit }) };
}

interface Said2 {
  readonly text: string;
  readonly from: string;
}

function optionOfMark(mark: PageMark): string {
  return mark.set === "encrypted" ? "cbit" : "shared-bit";
}

/** What of the state has no effect, though somebody gave it. */
function doubts({ registers, model }: MachineState, cr3: bigint): string[] {
  const found: string[] = [];
  const { cr4, pkru, pkrs } = registers;
  if (pkru.value !== 0n && (cr4.value & CR4_PKE) === 0n) found.push("PKRU denies nothing while CR4.PKE=0");
  if (pkrs.value !== 0n && (cr4.value & CR4_PKS) === 0n) found.push("PKRS denies nothing while CR4.PKS=0");
  if ((cr3 & CR3_LAM) !== 0n) {
    const who = model.lam ? "user pointers carry metadata" : `ignored, as ${model.name} has no LAM`;
    found.push(`CR3 has LAM bits: ${who}`);
  }
  return found;
}

/** Registers that an image or a report gives. */
export type SaidRegisters = Partial<Record<"cr0" | "cr4" | "efer" | "pkru", Sourced>>;

/** What the image says; null when nothing. Throws UsageError for a CPU that the file does not have. */
function saidBy({ core, manifest }: Image, vcpu: number): SaidRegisters | null {
  const { note, cpus, legacyMode } = core;
  if (note !== null || manifest !== null) {
    const { cr0, cr4, efer } = (note ?? manifest)!;
    const from = note === null ? "manifest" : "note in the file";
    return {
      cr0: { value: BigInt(cr0), from },
      cr4: { value: BigInt(cr4), from },
      efer: { value: BigInt(efer), from },
    };
  }
  const cpu = cpus[vcpu];
  if (cpu === undefined || legacyMode || !isPaging(cpu)) return null;
  const from = `note of CPU ${vcpu}`;
  return {
    cr0: { value: cpu.cr0, from },
    cr4: { value: cpu.cr4, from },
    efer: { value: USUAL.efer, from: "no note has it: NXE is taken as 1" },
  };
}

/** Whether a CPU had tables of four or five levels, as far as CR0 and CR4 say. */
export function isPaging({ cr0, cr4 }: { readonly cr0: bigint; readonly cr4: bigint }): boolean {
  return ((cr0 >> 31n) & 1n) === 1n && ((cr4 >> 5n) & 1n) === 1n;
}

function levelsOf(said: SaidRegisters | null, parsed: ParsedArguments): 4 | 5 {
  const asked = parsed.text("levels");
  if (asked !== undefined && asked !== "4" && asked !== "5") {
    throw new UsageError(`--levels ${quote(asked)}: give 4 or 5`);
  }
  const typed = optionOf(parsed, "cr4");
  const cr4 = typed ?? said?.cr4;
  if (cr4 === undefined) return asked === "5" ? 5 : 4;
  const levels = isBitSet(Number(cr4.value & 0xffff_ffffn), CR4_LA57_BIT) ? 5 : 4;
  if (asked !== undefined && Number(asked) !== levels) {
    const who = typed === null ? "the image says that its tables have" : "bit 12 (LA57) of --cr4 says";
    throw new UsageError(`--levels ${asked}: ${who} ${levels}`);
  }
  return levels;
}

function optionOf(parsed: ParsedArguments, name: Register, below = 2n ** 64n): Sourced | null {
  const text = parsed.text(name);
  if (text === undefined) return null;
  const value = parseHex(`--${name}`, text);
  if (value >= below) throw new UsageError(`--${name} ${quote(text)}: it has 32 bits`);
  return { value, from: `--${name}` };
}

function withoutNx(efer: Sourced, parsed: ParsedArguments): Sourced {
  if (!parsed.has("no-nx")) return efer;
  if (parsed.text("efer") !== undefined) throw new UsageError("--efer and --no-nx: give one of them");
  return { value: efer.value & ~EFER_NXE, from: "--no-nx" };
}

function markOf(parsed: ParsedArguments): PageMark | null {
  const cbit = parsed.text("cbit");
  const shared = parsed.text("shared-bit");
  if (cbit !== undefined && shared !== undefined) {
    throw new UsageError("--cbit and --shared-bit: give one of them");
  }
  if (cbit !== undefined) return { ...bitOf("cbit", cbit), set: "encrypted", clear: "not encrypted" };
  if (shared !== undefined) return { ...bitOf("shared-bit", shared), set: "shared", clear: "private" };
  return null;
}

function bitOf(name: string, text: string): { bit: number; mask: number } {
  const bit = /^\d{2}$/.test(text) ? Number(text) : 0;
  if (bit < 32 || bit > 51)
    throw new UsageError(`--${name} ${quote(text)}: give the number of a bit, 32 to 51`);
  return { bit, mask: 1 << (bit - 32) };
}
