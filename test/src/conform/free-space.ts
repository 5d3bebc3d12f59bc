import type { CaseQuestion, Outcome } from "../../../src/conform/case.ts";

/** What no case touches, so that a program that executes has room for itself. */
const FREE = { slots: [128, 254], keys: [8, 15], physical: [0x400_0000, 0xf000_0000] } as const;

const within = (value: number, [first, last]: readonly [number, number]): boolean =>
  value >= first && value <= last;

/** What a question uses of that, and words that it gives twice; empty if all is well. */
export function usesOfFreeSpace(question: CaseQuestion): string[] {
  const { registers, memory, steps } = question;
  const found = slotsTaken(question);
  const places = new Set<number>();
  for (const { pa } of memory) {
    if (places.has(pa)) found.push(`the word at ${pa.toString(16)} twice`);
    places.add(pa);
    if (pa >= FREE.physical[0]) found.push(`a word at ${pa.toString(16)}`);
  }
  const root = Number(registers.cr3 & 0xf_ffff_ffff_f000n);
  if (root >= FREE.physical[0]) found.push(`CR3 ${root.toString(16)}`);
  const check = (value: bigint): void => {
    const key = Number((value >> 59n) & 0xfn);
    if ((value & 1n) !== 0n && within(key, FREE.keys)) found.push(`key ${key}`);
  };
  for (const { value } of memory) check(value);
  checkKeys(registers, found);
  for (const step of steps) {
    if (step.op === "write_entry") check(step.value);
    if (step.op === "control") checkKeys(step, found);
  }
  return found;
}

/** The part of it that is addresses. */
export function slotsTaken({ steps }: CaseQuestion): string[] {
  return steps.flatMap((step) => {
    if (!("la" in step)) return [];
    const last = step.la + BigInt(step.op === "access" ? step.size - 1 : 0);
    // With five levels PML4s of other PML5 entries have slots, too.
    const slots = [step.la, last].map((la) => Number((la >> 39n) & 0x1ffn));
    return slots.filter((slot) => within(slot, FREE.slots)).map((slot) => `PML4 slot ${slot}`);
  });
}

function checkKeys(registers: Partial<CaseQuestion["registers"]>, found: string[]): void {
  for (const name of ["pkru", "pkrs"] as const) {
    if ((registers[name] ?? 0n) >> BigInt(2 * FREE.keys[0]) !== 0n)
      found.push(`rights of a high key in ${name}`);
  }
}

/** Whether an access that came to this reached memory that is to be free. */
export function isInFreeMemory(outcome: Outcome): boolean {
  const [first, end] = FREE.physical;
  return "pa" in outcome && outcome.pa >= first && outcome.pa < end;
}
