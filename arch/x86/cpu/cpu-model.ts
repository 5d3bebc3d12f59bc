/**
 * A CPU as data: what it enumerates and how it behaves where vendors and emulators differ. Nothing subclasses; every
 * difference is a field here, and a test flips it.
 */
export interface CpuModel {
  readonly name: string;
  readonly vendor: "intel" | "amd";
  /** Width of physical addresses, CPUID 80000008 EAX[7:0]: 36..52. */
  readonly maxPhyAddr: number;
  /** 1-GiB pages, CPUID 80000001 EDX[26]; without them PDPTE.PS is reserved. */
  readonly gbPages: boolean;
  readonly nx: boolean;
  readonly pcid: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pku: boolean;
  readonly pks: boolean;
  /** Five-level paging and 57-bit linear addresses. */
  readonly la57: boolean;
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
}

/** Behaviour the manuals describe; presets add what a CPU enumerates. */
const SILICON = {
  gbPages: true,
  nx: true,
  smep: true,
  smap: true,
  pcid: true,
  pku: true,
  pks: false,
  la57: false,
  upperAOnFault: "set",
  leaf1GAOnFault: false,
  rsvdKeepsP: true,
  rmwIsWrite: true,
  stackNoncanonical: "#SS",
} as const;

const INTEL = { ...SILICON, vendor: "intel" } as const;
const AMD = { ...SILICON, vendor: "amd" } as const;

/**
 * Known CPUs. Hardware rows are decoded from raw CPUID registers (InstLatx64 dumps, named by CPUID signature).
 * Emulator rows reproduce the error codes, the #GP for #SS and the A and D bits that Bochs 2.7 and QEMU 7.2.22 (TCG)
 * were measured to give, with the address width of the measured builds; their TLBs and their handling of G, of PCIDs
 * and of accesses that straddle the canonical hole are not reproduced.
 */
const PRESETS: readonly CpuModel[] = [
  { ...INTEL, name: "intel-skylake-client", maxPhyAddr: 39, pku: false }, // 00406E3
  { ...INTEL, name: "intel-skylake-sp", maxPhyAddr: 46 }, // 0050654
  { ...INTEL, name: "intel-icelake-client", maxPhyAddr: 39 }, // 00706E5
  { ...INTEL, name: "intel-alder-lake", maxPhyAddr: 39, pks: true }, // 0090672
  { ...INTEL, name: "intel-sapphire-rapids", maxPhyAddr: 52, pks: true, la57: true }, // 00806F8
  { ...INTEL, name: "intel-granite-rapids", maxPhyAddr: 52, pks: true, la57: true }, // 00A06D1
  { ...INTEL, name: "intel-lunar-lake", maxPhyAddr: 42, pks: true }, // 00B06D1
  { ...INTEL, name: "intel-arrow-lake", maxPhyAddr: 46, pks: true }, // 00C0662
  { ...AMD, name: "amd-zen2", maxPhyAddr: 48, pcid: false, pku: false }, // 0830F10
  { ...AMD, name: "amd-zen3", maxPhyAddr: 48 }, // 0A00F11
  { ...AMD, name: "amd-zen4-client", maxPhyAddr: 48, pcid: false }, // 0A60F12
  { ...AMD, name: "amd-zen4", maxPhyAddr: 52, la57: true }, // 0A10F11
  { ...AMD, name: "amd-zen5-client", maxPhyAddr: 48, pcid: false }, // 0B40F40
  { ...AMD, name: "amd-zen5", maxPhyAddr: 52, la57: true }, // 0B00F21
  { ...INTEL, name: "bochs-2.7", maxPhyAddr: 40, upperAOnFault: "clear" },
  {
    ...INTEL,
    name: "qemu-7.2",
    maxPhyAddr: 40,
    pcid: false,
    pks: true,
    la57: true,
    leaf1GAOnFault: true,
    rsvdKeepsP: false,
    rmwIsWrite: false,
    stackNoncanonical: "#GP",
  },
];

/** The presets by name, e.g. `intel-skylake-sp` (the default), `amd-zen3`, `qemu-7.2`. */
export const CPU_MODELS: Readonly<Record<string, CpuModel>> = Object.fromEntries(
  PRESETS.map((model) => [model.name, Object.freeze(model)]),
);

export const DEFAULT_CPU_MODEL = "intel-skylake-sp";

/** The preset of that name. Throws RangeError naming the known ones. */
export function cpuModel(name: string): CpuModel {
  const model = Object.hasOwn(CPU_MODELS, name) ? CPU_MODELS[name] : undefined;
  if (model === undefined) {
    throw new RangeError(`unknown CPU model "${name}": known are ${Object.keys(CPU_MODELS).join(", ")}`);
  }
  return model;
}

/** Throws RangeError for a model that no CPU can be: a physical-address width outside 36..52. */
export function checkModel({ name, maxPhyAddr }: CpuModel): void {
  if (!(Number.isInteger(maxPhyAddr) && maxPhyAddr >= 36 && maxPhyAddr <= 52)) {
    throw new RangeError(`MAXPHYADDR ${maxPhyAddr} of CPU model "${name}": give 36 to 52`);
  }
}
