import { Entry } from "../arch/x86/cpu/entry.ts";
import { pte_mkclean, pte_wrprotect } from "../arch/x86/mm/pgtable.ts";
import { suite } from "./suite.ts";

/*
 * Why an entry is two words (design decision 1): the same clean-and-write-protect over 65,536 entries with the chosen
 * form and with the two that were rejected.
 */
const COUNT = 65_536;
const words = new Int32Array(2 * COUNT);
const bigs = new BigUint64Array(words.buffer);

export default async function entryBench(): Promise<void> {
  await suite("clean and write-protect one entry in memory", [
    {
      name: "Entry of two words (chosen)",
      operations: COUNT,
      run() {
        for (let i = 0; i < COUNT; i++) {
          const entry = pte_mkclean(pte_wrprotect(new Entry(words[2 * i]!, words[2 * i + 1]!)));
          words[2 * i] = entry.lo;
          words[2 * i + 1] = entry.hi;
        }
      },
    },
    {
      name: "bare words",
      operations: COUNT,
      run() {
        for (let i = 0; i < COUNT; i++) words[2 * i] = words[2 * i]! & ~0x42;
      },
    },
    {
      name: "BigInt",
      operations: COUNT,
      run() {
        for (let i = 0; i < COUNT; i++) bigs[i] = bigs[i]! & ~0x2n & ~0x40n;
      },
    },
  ]);
}
