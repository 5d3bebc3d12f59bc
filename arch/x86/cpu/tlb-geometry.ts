/** Which accesses a structure serves. A store TLB serves writes, a load TLB the other data accesses. */
export type TlbUse = "data" | "instruction" | "load" | "store" | "unified";

/** Leaf levels, which are page sizes: 1 = 4 KiB, 2 = 2 MiB, 3 = 1 GiB. */
export type LeafLevel = 1 | 2 | 3;

/** One structure of a TLB. A fully associative one has a single set. */
export interface TlbStructure {
  readonly name: string;
  /** 1 is looked into first; a translation found on level 2 is copied to level 1. */
  readonly level: 1 | 2;
  readonly use: TlbUse;
  readonly sizes: readonly LeafLevel[];
  readonly ways: number;
  readonly sets: number;
}

/** A TLB, as the structures that it is made of. */
export type TlbGeometry = readonly TlbStructure[];

const USES: readonly TlbUse[] = ["data", "instruction", "load", "store", "unified"];

/** Throws RangeError, naming the structure, for a geometry that no TLB can have. */
export function checkGeometry(geometry: TlbGeometry): void {
  if (geometry.length === 0)
    throw new RangeError('TLB geometry: give a structure at least, or the policy "none"');
  for (const { name, level, use, sizes, ways, sets } of geometry) {
    const counts = [ways, sets].every((count) => Number.isInteger(count) && count >= 1 && count <= 2 ** 16);
    if (!counts)
      throw new RangeError(`TLB "${name}" of ${ways} ways and ${sets} sets: give 1 to 65536 of each`);
    if (level !== 1 && level !== 2)
      throw new RangeError(`TLB "${name}" on level ${level}: there are 1 and 2`);
    if (!USES.includes(use)) throw new RangeError(`TLB "${name}" for "${use}": known are ${USES.join(", ")}`);
    if (sizes.length === 0 || !sizes.every((size) => size === 1 || size === 2 || size === 3)) {
      throw new RangeError(`TLB "${name}" of page levels ${sizes.join(", ")}: give some of 1, 2 and 3`);
    }
  }
}

const ALL: readonly LeafLevel[] = [1, 2, 3];

function structure(
  level: 1 | 2,
  use: TlbUse,
  sizes: readonly LeafLevel[],
  ways: number,
  sets = 1,
): TlbStructure {
  const pages = sizes.map((size) => ["4K", "2M", "1G"][size - 1]).join("+");
  return { name: `L${level} ${use} ${pages}`, level, use, sizes, ways, sets };
}

/** Leaf 2 descriptors 76 63 03 B5 C3; the second level's ways are those of leaf 2, not the optimization manual's. */
const SKYLAKE: TlbGeometry = [
  structure(1, "instruction", [1], 8, 8),
  structure(1, "instruction", [2], 8),
  structure(1, "data", [1], 4, 16),
  structure(1, "data", [2], 4, 8),
  structure(1, "data", [3], 4),
  structure(2, "unified", [1, 2], 6, 256),
  structure(2, "unified", [3], 4, 4),
];

const INTEL_L1_STORE = structure(1, "store", ALL, 16);
const INTEL_L2: TlbGeometry = [
  structure(2, "unified", [1, 2], 8, 128),
  structure(2, "unified", [1, 3], 8, 128),
];

/** CPUID reports an instruction TLB of eight entries, which looks wrong and is taken as it is. */
const SUNNY_COVE: TlbGeometry = [
  structure(1, "instruction", ALL, 8),
  structure(1, "load", [1], 4, 16),
  structure(1, "load", [2], 4, 8),
  structure(1, "load", [3], 8),
  INTEL_L1_STORE,
  ...INTEL_L2,
];

/** Golden Cove and the cores after it differ in the load TLB of 4-KiB pages, as CPUID counts it. */
function goldenCove(ways: number): TlbGeometry {
  return [
    structure(1, "instruction", [1], 8, 32),
    structure(1, "instruction", [2], 8, 4),
    structure(1, "load", [1], ways, 16),
    structure(1, "load", [2], 4, 8),
    structure(1, "load", [3], 8),
    INTEL_L1_STORE,
    ...INTEL_L2,
  ];
}

const SKYMONT: TlbGeometry = [
  structure(1, "instruction", [1], 128),
  structure(1, "data", [1, 2], 48),
  structure(2, "unified", [1, 2], 4, 1024),
  structure(2, "unified", [3], 8),
];

/** Zen 2 keeps a 1-GiB page as 2-MiB pieces on the second level; here it has no place there. */
const ZEN2: TlbGeometry = [
  structure(1, "data", ALL, 64),
  structure(1, "instruction", ALL, 64),
  structure(2, "data", [1], 8, 256),
  structure(2, "data", [2], 4, 512),
  structure(2, "instruction", [1], 8, 128),
  structure(2, "instruction", [2], 8, 128),
];

const ZEN3: TlbGeometry = [
  structure(1, "data", ALL, 64),
  structure(1, "instruction", ALL, 64),
  structure(2, "data", [1], 8, 256),
  structure(2, "data", [2], 4, 512),
  structure(2, "data", [3], 64),
  structure(2, "instruction", [1], 4, 128),
  structure(2, "instruction", [2], 2, 256),
];

const ZEN4: TlbGeometry = [
  structure(1, "data", ALL, 72),
  structure(1, "instruction", ALL, 64),
  structure(2, "data", [1], 8, 384),
  structure(2, "data", [2], 6, 512),
  structure(2, "data", [3], 64),
  structure(2, "instruction", [1], 4, 128),
  structure(2, "instruction", [2], 2, 256),
];

const ZEN5: TlbGeometry = [
  structure(1, "data", ALL, 96),
  structure(1, "instruction", ALL, 64),
  structure(2, "data", [1], 8, 512),
  structure(2, "data", [2], 4, 1024),
  structure(2, "data", [3], 4, 256),
  structure(2, "instruction", [1], 4, 512),
  structure(2, "instruction", [2], 2, 1024),
];

/**
 * TLBs by CPU, decoded from raw CPUID registers (leaves 2 and 18h of Intel, 8000_0005, 8000_0006 and 8000_0019 of AMD;
 * InstLatx64 dumps). A name is that of the CPU model, and of a core where a CPU has two kinds. A size that no
 * structure of a level takes is not kept on that level. Sharing between two threads of a core is not modelled.
 */
export const TLB_GEOMETRIES = {
  "intel-skylake-client": SKYLAKE,
  "intel-icelake-client": SUNNY_COVE,
  "intel-alder-lake": goldenCove(4),
  "intel-sapphire-rapids": goldenCove(4),
  "intel-granite-rapids": goldenCove(6),
  "intel-lunar-lake": goldenCove(8),
  "intel-arrow-lake": goldenCove(8),
  "intel-skymont": SKYMONT,
  "amd-zen2": ZEN2,
  "amd-zen3": ZEN3,
  "amd-zen4-client": ZEN4,
  "amd-zen4": ZEN4,
  "amd-zen5-client": ZEN5,
  "amd-zen5": ZEN5,
} as const satisfies Readonly<Record<string, TlbGeometry>>;
