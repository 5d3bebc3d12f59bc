import { need } from "./argument.ts";
import { oneOf, shape, text } from "./argument-kinds.ts";

/**
 * What a CPU enumerates. A control bit whose feature is missing cannot be set (#GP), an instruction whose feature is
 * missing does not exist (#UD).
 */
export interface CpuFeatures {
  readonly name: string;
  readonly vendor: "intel" | "amd";
  /** Width of physical addresses, CPUID 80000008 EAX[7:0]: 36..52. */
  readonly maxPhyAddr: number;
  /**
   * Width of linear addresses, CPUID 80000008 EAX[15:8]: 57 when LA57 is enumerated. It decides what descriptors and MSRs
   * take for canonical, also while CR4.LA57 = 0.
   */
  readonly linearWidth: 48 | 57;
  /** 1-GiB pages, CPUID 80000001 EDX[26]; without them PDPTE.PS is reserved. */
  readonly gbPages: boolean;
  readonly nx: boolean;
  readonly pge: boolean;
  readonly pcid: boolean;
  readonly invpcid: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pku: boolean;
  readonly pks: boolean;
  /** Five-level paging and 57-bit linear addresses. */
  readonly la57: boolean;
  /** Linear-address masking: metadata in the upper bits of a pointer. */
  readonly lam: boolean;
  /** Linear-address-space separation: bit 63 decides who may use an address, before any walk. */
  readonly lass: boolean;
  /** Shadow stacks. */
  readonly shstk: boolean;
  /** AMD: most pages beyond the first that one INVLPGB names, CPUID 80000008 EDX[15:0]; null when it has none. */
  readonly invlpgbPages: number | null;
  /** AMD: EFER.TCE may narrow what an invalidation drops of the upper levels. */
  readonly tce: boolean;
  /** AMD: EFER.UAIE may let data accesses ignore bits 63:57 of their address (APM vol. 2, 5.10). */
  readonly uai: boolean;
  /**
   * Bits of CR4 and EFER by name, with a space between two, that only some CPUs of the vendor have and that have nothing
   * to do with paging, e.g. "UMIP UINTR"; see register-bits.ts. Left out, none.
   */
  readonly registerBits?: string;
}

/** Where silicon, its errata and emulators behave differently. */
export interface CpuBehaviour {
  /** Whether a walk that faults sets A in the table entries above the failing one. */
  readonly upperAOnFault: "set" | "clear";
  /** QEMU: a 1-GiB leaf gets A even when its rights, or reserved bits among 29:13 and no others, stop the access. */
  readonly leaf1GAOnFault: boolean;
  /** False reproduces QEMU: reserved-bit faults are reported with P=0. */
  readonly rsvdKeepsP: boolean;
  /** False reproduces QEMU: a read-modify-write loads first, so its fault may be reported as a read. */
  readonly rmwIsWrite: boolean;
  /** The fault of a stack access to a non-canonical address; QEMU raises #GP. */
  readonly stackNoncanonical: "#SS" | "#GP";
  /** False reproduces QEMU: only the pages that an access reaches are checked, each before its own walk. */
  readonly wholeAccessCanonical: boolean;
  /** False reproduces QEMU: a PDPTE with PS=1 maps 1 GiB although the CPU enumerates no such pages. */
  readonly gbPagesGated: boolean;
  /** Whether bit 8 of a PML4E or PML5E is reserved; left out, it is on AMD. Emulators ignore it for both vendors. */
  readonly amdNonleafG?: boolean;
  /**
   * Whether a fault is reported only when a walk from the root confirms it, so that no cached entry with fewer rights
   * ever shows; left out, it is on AMD (APM vol. 2, 5.5.3, Use of Cached Entries When Reporting a Page Fault Exception).
   * The emulators measured walk again, too.
   */
  readonly confirmsFaults?: boolean;
  /** What sets A and D: a locked cycle on all 64 bits; QEMU: on the low 32; Bochs: a plain store of what was read. */
  readonly adUpdate: "locked64" | "locked32" | "plain";
  /**
   * Which pages PKRU guards: those with U/S=1 on the whole path; Bochs 3.0: those with U/S=1 above the leaf; Bochs 2.7:
   * every one.
   */
  readonly keyPage: "path" | "above-leaf" | "every";
  /** False reproduces Bochs 2.7: PKRU.AD does not stop the supervisor. */
  readonly keyStopsSupervisor: boolean;
  /** Whose own accesses (to descriptor tables, the TSS) RFLAGS.AC exempts from SMAP. Silicon: nobody's. */
  readonly acExemptsImplicit: "never" | "cpl0" | "always";
  /** False reproduces QEMU: G is ignored, every MOV to CR3 drops every translation. */
  readonly honoursGlobal: boolean;
  /** False reproduces the emulators: CR4.PCIDE can be set, but translations have no tag and bit 63 of CR3 keeps none. */
  readonly tagsPcid: boolean;
  /** False reproduces QEMU: CR4.PCIDE can be set although the CPU enumerates no PCIDs. */
  readonly pcideGated: boolean;
  /** How PAT and MTRR types combine: as the manual's table says, or Bochs's two cells that differ. */
  readonly memoryTypeMerge: "manual" | "bochs";
  /**
   * CPUs before shadow stacks: an update of D that another CPU's write-protection overtakes does not look at R/W, and
   * leaves an entry with R/W=0 and D=1.
   */
  readonly dirtyOnReadOnly: boolean;
  /** Erratum KNL4 (Knights Landing): an access that finds P cleared under its walk may set A and D there all the same. */
  readonly strayAD: boolean;
  /** Alder Lake, Raptor Lake, Gracemont with old microcode: with PCIDE=1 INVLPG may leave global translations. */
  readonly invlpgKeepsGlobal: boolean;
}

/**
 * A CPU as data: what it enumerates and how it behaves where vendors and emulators differ. Nothing subclasses; every
 * difference is a field here, and a test flips it.
 */
export interface CpuModel extends CpuFeatures, CpuBehaviour {}

/** Behaviour the manuals describe. */
const SILICON: CpuBehaviour = {
  upperAOnFault: "set",
  leaf1GAOnFault: false,
  rsvdKeepsP: true,
  rmwIsWrite: true,
  stackNoncanonical: "#SS",
  wholeAccessCanonical: true,
  gbPagesGated: true,
  adUpdate: "locked64",
  keyPage: "path",
  keyStopsSupervisor: true,
  acExemptsImplicit: "never",
  honoursGlobal: true,
  tagsPcid: true,
  pcideGated: true,
  memoryTypeMerge: "manual",
  dirtyOnReadOnly: false,
  strayAD: false,
  invlpgKeepsGlobal: false,
};

/** Bochs, any version here. Its A and D are collected on the way down and stored at the end, without a lock. */
const BOCHS: CpuBehaviour = {
  ...SILICON,
  upperAOnFault: "clear",
  amdNonleafG: false,
  confirmsFaults: true,
  adUpdate: "plain",
  keyPage: "above-leaf",
  acExemptsImplicit: "always",
  tagsPcid: false,
  memoryTypeMerge: "bochs",
};

/** QEMU's translator, TCG. */
const QEMU: CpuBehaviour = {
  ...SILICON,
  leaf1GAOnFault: true,
  rsvdKeepsP: false,
  rmwIsWrite: false,
  stackNoncanonical: "#GP",
  wholeAccessCanonical: false,
  gbPagesGated: false,
  amdNonleafG: false,
  confirmsFaults: true,
  adUpdate: "locked32",
  acExemptsImplicit: "cpl0",
  honoursGlobal: false,
  tagsPcid: false,
  pcideGated: false,
};

const NARROW = { linearWidth: 48, la57: false } as const;
const WIDE = { linearWidth: 57, la57: true } as const;
const COMMON = { gbPages: true, nx: true, pge: true, smep: true, smap: true } as const;

/** What every Intel preset below Alder Lake has; the others add to it. */
const SKYLAKE = {
  ...SILICON,
  ...COMMON,
  ...NARROW,
  vendor: "intel",
  dirtyOnReadOnly: true,
  pcid: true,
  invpcid: true,
  pku: true,
  pks: false,
  lam: false,
  lass: false,
  shstk: false,
  invlpgbPages: null,
  tce: false,
  uai: false,
} as const;
const GOLDEN_COVE = {
  ...SKYLAKE,
  registerBits: "UMIP",
  dirtyOnReadOnly: false,
  pks: true,
  shstk: true,
} as const;
const USER_INTERRUPTS = { registerBits: "UMIP UINTR" } as const;

const ZEN3 = {
  ...SILICON,
  ...COMMON,
  ...NARROW,
  vendor: "amd",
  maxPhyAddr: 48,
  pcid: true,
  invpcid: true,
  pku: true,
  pks: false,
  lam: false,
  lass: false,
  shstk: true,
  invlpgbPages: 7,
  tce: true,
  uai: false,
  registerBits: "UMIP",
} as const;
const ZEN4 = { ...ZEN3, uai: true, registerBits: "UMIP AIBRSE" } as const;
const ZEN_SERVER = { ...ZEN4, ...WIDE, maxPhyAddr: 52 } as const;
/** Two client dumps report INVPCID without PCIDs: only PCID 0 is legal in its descriptor. */
const ZEN_CLIENT = { ...ZEN4, pcid: false, invlpgbPages: null } as const;
const NO_KEYS_NO_SHADOW_STACK = { pku: false, shstk: false, dirtyOnReadOnly: true } as const;

/**
 * Known CPUs. Hardware rows are decoded from raw CPUID registers (InstLatx64 dumps, named by CPUID signature).
 * Emulator rows reproduce what Bochs 2.7, a development snapshot of Bochs 3.0 and QEMU 7.2.22 (TCG) were measured to do,
 * with the address width of the measured builds.
 */
const PRESETS: readonly CpuModel[] = [
  { ...SKYLAKE, name: "intel-skylake-client", maxPhyAddr: 39, pku: false }, // 00406E3
  { ...SKYLAKE, name: "intel-skylake-sp", maxPhyAddr: 46 }, // 0050654
  { ...SKYLAKE, name: "intel-icelake-client", maxPhyAddr: 39, registerBits: "UMIP" }, // 00706E5
  { ...GOLDEN_COVE, name: "intel-alder-lake", maxPhyAddr: 39 }, // 0090672
  { ...GOLDEN_COVE, ...WIDE, ...USER_INTERRUPTS, name: "intel-sapphire-rapids", maxPhyAddr: 52 }, // 00806F8
  { ...GOLDEN_COVE, ...WIDE, ...USER_INTERRUPTS, name: "intel-granite-rapids", maxPhyAddr: 52 }, // 00A06D1
  { ...GOLDEN_COVE, name: "intel-lunar-lake", maxPhyAddr: 42, lam: true, lass: true }, // 00B06D1
  { ...GOLDEN_COVE, name: "intel-arrow-lake", maxPhyAddr: 46, lam: true, lass: true }, // 00C0662
  // Before the microcode (Alder Lake: 0x2e) that lets INVLPG drop global translations with PCIDE=1.
  { ...GOLDEN_COVE, name: "intel-alder-lake-old-microcode", maxPhyAddr: 39, invlpgKeepsGlobal: true },
  {
    ...ZEN3,
    ...NO_KEYS_NO_SHADOW_STACK,
    registerBits: "UMIP LMSLE",
    name: "amd-zen2",
    pcid: false,
    invpcid: false,
    invlpgbPages: null,
  }, // 0830F10
  { ...ZEN3, name: "amd-zen3" }, // 0A00F11
  { ...ZEN_CLIENT, name: "amd-zen4-client" }, // 0A60F12
  { ...ZEN_SERVER, name: "amd-zen4" }, // 0A10F11
  { ...ZEN_CLIENT, name: "amd-zen5-client" }, // 0B40F40
  { ...ZEN_SERVER, name: "amd-zen5" }, // 0B00F21
  {
    ...SKYLAKE,
    ...BOCHS,
    name: "bochs-2.7",
    registerBits: "UMIP",
    maxPhyAddr: 40,
    shstk: true,
    keyPage: "every",
    keyStopsSupervisor: false,
  },
  { ...GOLDEN_COVE, ...WIDE, ...BOCHS, name: "bochs-3.0", maxPhyAddr: 40 },
  {
    ...SKYLAKE,
    ...WIDE,
    ...QEMU,
    name: "qemu-7.2",
    registerBits: "UMIP",
    maxPhyAddr: 40,
    pcid: false,
    invpcid: false,
    pks: true,
  },
];

/** The presets by name, e.g. `intel-skylake-sp` (the default), `amd-zen3`, `qemu-7.2`. */
export const CPU_MODELS: Readonly<Record<string, CpuModel>> = Object.fromEntries(
  PRESETS.map((model) => [model.name, Object.freeze(model)]),
);

/** The model of a machine that is not given one. */
export const DEFAULT_CPU_MODEL = "intel-skylake-sp";

/** The preset of that name. Throws RangeError naming the known ones. */
export function cpuModel(name: string): CpuModel {
  const model = Object.hasOwn(CPU_MODELS, name) ? CPU_MODELS[name] : undefined;
  if (model === undefined) {
    throw new RangeError(`unknown CPU model "${name}": known are ${Object.keys(CPU_MODELS).join(", ")}`);
  }
  return model;
}

/** Whether CPUs of a model confirm a fault by a walk from the root before they report it. */
export function confirmsFaults(model: Pick<CpuModel, "vendor" | "confirmsFaults">): boolean {
  return model.confirmsFaults ?? model.vendor === "amd";
}

const MODEL = shape<CpuModel>("CPU model", { name: text("name"), vendor: oneOf("vendor", ["intel", "amd"]) });

/** Throws TypeError for what is no model, RangeError for one that no CPU can be: a physical-address width outside 36..52. */
export function checkModel(model: CpuModel): void {
  const { name, maxPhyAddr } = need(MODEL, model);
  if (!(Number.isInteger(maxPhyAddr) && maxPhyAddr >= 36 && maxPhyAddr <= 52)) {
    throw new RangeError(`MAXPHYADDR ${maxPhyAddr} of CPU model "${name}": give 36 to 52`);
  }
}
