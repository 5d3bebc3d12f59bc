/**
 * A set of logical CPUs: bit n % 32 of word n / 32 for CPU n; words that are left out are 0. A set is a value and never
 * changes: whoever adds a CPU has another one.
 */
export type CpuMask = readonly number[];

/** The set without any CPU. */
export const CPU_MASK_NONE: CpuMask = [0];

/** Whether the CPU is in the mask. */
export function cpumask_test_cpu(cpu: number, mask: CpuMask): boolean {
  return (((mask[cpu >>> 5] ?? 0) >>> (cpu & 31)) & 1) !== 0;
}

/** Whether no CPU is in the mask. */
export function cpumask_empty(mask: CpuMask): boolean {
  return mask.every((word) => word === 0);
}

/** The mask with a CPU. */
export function withCpu(mask: CpuMask, cpu: number): CpuMask {
  const words = [...mask];
  while (words.length <= cpu >>> 5) words.push(0);
  words[cpu >>> 5]! |= 1 << (cpu & 31);
  return words;
}

/** The mask without a CPU. */
export function withoutCpu(mask: CpuMask, cpu: number): CpuMask {
  return mask.map((word, i) => (i === cpu >>> 5 ? word & ~(1 << (cpu & 31)) : word));
}

/** The CPUs of either mask. */
export function unionOf(a: CpuMask, b: CpuMask): CpuMask {
  const [long, short] = a.length >= b.length ? [a, b] : [b, a];
  return long.map((word, i) => word | (short[i] ?? 0));
}

/** Whether any CPU but this one is in the mask. */
export function hasOtherCpu(mask: CpuMask, cpu: number): boolean {
  for (let i = 0; i < mask.length; i++) {
    const word = mask[i]!;
    if ((i === cpu >>> 5 ? word & ~(1 << (cpu & 31)) : word) !== 0) return true;
  }
  return false;
}
