import type { ByteView } from "./byte-view.ts";

/** Name and type of the note in which QEMU's dump-guest-memory keeps a logical CPU. */
export const CPU_NOTE_NAME = "QEMU\0";
export const CPU_NOTE_TYPE = 0;
const VERSION = 1;

/** The control registers of one logical CPU at the moment of the dump. */
export interface CpuRegisters {
  readonly cr0: bigint;
  readonly cr2: bigint;
  /** As the register held it, PCID and flags included. */
  readonly cr3: bigint;
  readonly cr4: bigint;
}

/**
 * Offsets in the note, little-endian, version 1; measured on dumps of QEMU 7.2. Newer versions add fields at the end and
 * say so by the size alone.
 *
 *     0    4 bytes  version
 *     4    4        size of all
 *     8    ...      general registers, rip, rflags, segments
 *     392  8        CR0 (CR1 stands behind it, zero)
 *     408  8        CR2
 *     416  8        CR3
 *     424  8        CR4
 */
const OFFSETS = { cr0: 392, cr2: 408, cr3: 416, cr4: 424 } as const;
const LEAST_SIZE = 432;

/** Reads such a note; null when it is none: another version, or too short. Throws FormatError. */
export function readCpuNote(view: ByteView): CpuRegisters | null {
  if (view.length < LEAST_SIZE) return null;
  const version = view.u32(0, "the version of a CPU's note");
  if (version !== VERSION || view.u32(4, "the size of a CPU's note") < LEAST_SIZE) return null;
  const register = (name: keyof typeof OFFSETS): bigint => view.bigU64(OFFSETS[name], name);
  return { cr0: register("cr0"), cr2: register("cr2"), cr3: register("cr3"), cr4: register("cr4") };
}
