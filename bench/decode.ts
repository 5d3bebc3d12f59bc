import { cpuModel, DEFAULT_CPU_MODEL } from "../arch/x86/cpu/cpu-model.ts";
import { Entry } from "../arch/x86/cpu/entry.ts";
import { xorshift32 } from "../arch/x86/cpu/xorshift32.ts";
import { decodeEntry, decodeLines, LINUX_LEVELS } from "../src/inspect/decode-report.ts";
import { linuxPteFormat } from "../src/inspect/linux-reading.ts";
import { plain } from "../src/text/paint.ts";
import type { Benchmark } from "./benchmark.ts";

const ENTRIES = 1024;
const SEED = 12_345;

/** What `ptescope decode` does for each: present and other entries, of every level, as lines for a person. */
export const decodeBenchmark: Benchmark = {
  name: "decode",
  group: "claim",
  operation: "a random entry decoded into lines of text",
  reference: null,
  insteadOf: null,
  prepare() {
    const random = xorshift32(SEED);
    const entries = Array.from({ length: ENTRIES }, () => new Entry(random() | 0, random() | 0));
    const model = { ...cpuModel(DEFAULT_CPU_MODEL), nxe: true, pge: true, keys: false };
    const pteFormats = [linuxPteFormat("linux-6.1", null)];
    return {
      operations: ENTRIES,
      run() {
        let lines = 0;
        for (const [i, entry] of entries.entries()) {
          const level = LINUX_LEVELS[i % LINUX_LEVELS.length]!;
          lines += decodeLines(decodeEntry(entry, level, 5, model, pteFormats), model.name, plain).length;
        }
        return lines;
      },
    };
  },
};
