import { PDE, PDPTE, PML4E, PTE } from "../../../src/conform/fixture.ts";
import { KEY_FACTS } from "../../../src/conform/key-facts.ts";
import { RESERVED_FACTS } from "../../../src/conform/reserved-facts.ts";
import { RMW_FACTS } from "../../../src/conform/rmw-facts.ts";
import { VENDOR_FACTS } from "../../../src/conform/vendor-facts.ts";

/**
 * What an emulator was measured to do with one fact: outcomes by step, where they are not the architecture's or where
 * that allows several; and words afterwards. "=" is as expected, "n/a" not offered there, "." not run.
 */
export type Column =
  | "="
  | "n/a"
  | "."
  | {
      readonly steps?: Readonly<Record<number, string>>;
      readonly words?: readonly (readonly [pa: number, value: bigint])[];
    };

/** The tables above the leaf after a walk that set A in the first `count` of them, and in no other. */
function accessedAbove(count: number): readonly (readonly [number, bigint])[] {
  const tables = [
    [PML4E, 0x10_0007n],
    [PDPTE, 0x10_1007n],
    [PDE, 0x10_2007n],
  ] as const;
  return tables.slice(0, Math.max(count, 1)).map(([pa, value], i) => [pa, i < count ? value | 0x20n : value]);
}

/** Facts that nobody put to the two emulators when the others were measured. */
const NOT_MEASURED = [...VENDOR_FACTS, ...RESERVED_FACTS, ...RMW_FACTS, ...KEY_FACTS];

const OK = "pa 0x110000";
const NEW = "pa 0x111000";

/** Bit 8 of a PML4E ignored: the walk goes on. */
const ALLOWED_ON_AMD: Column = {
  steps: { 0: OK },
  words: [[PML4E, 0x10_0127n], ...accessedAbove(3).slice(1), [PTE, 0x11_0027n]],
};

/** By fact id: the column of QEMU 7.2, then that of Bochs 2.7. A fact that is not here is "=" for both. */
export const COLUMNS: Readonly<Record<string, readonly [qemu: Column, bochs: Column]>> = {
  6: [{ words: accessedAbove(3) }, { words: accessedAbove(0) }],
  7: [{ words: accessedAbove(2) }, { words: accessedAbove(0) }],
  8: [{ words: accessedAbove(1) }, { words: accessedAbove(0) }],
  21: [{ steps: { 0: "#PF 0x08" } }, "="],
  "22-amd": [ALLOWED_ON_AMD, ALLOWED_ON_AMD],
  26: [{ steps: { 0: "#PF 0x08" }, words: [[PDE, 0x20_2087n]] }, "="],
  28: [{ steps: { 0: "#PF 0x0e" } }, "="],
  29: [{ steps: { 0: "#PF 0x08" }, words: [[PDPTE, 0x20a7n]] }, "="],
  30: [{ steps: { 0: "#PF 0x08" }, words: [[PDPTE, 0x2000_00a7n]] }, "="],
  32: [{ steps: { 0: "#PF 0x08" } }, "="],
  33: [{ steps: { 0: "#PF 0x0c" } }, "="],
  37: [{ steps: { 0: "#PF 0x08" } }, "="],
  38: [{ steps: { 0: "#PF 0x0c" } }, "="],
  48: [".", "."],
  50: ["=", { steps: { 0: OK }, words: [[PTE, 0x0800_0000_0011_0027n]] }],
  53: ["=", { steps: { 0: "#PF 0x25" } }],
  58: [{ steps: { 0: "#PF 0x0c" } }, "="],
  60: ["=", "."],
  61: ["=", "."],
  62: [{ steps: { 2: OK } }, { steps: { 2: OK } }],
  64: [
    { steps: { 2: OK }, words: [[PTE, 0n]] },
    { steps: { 2: OK }, words: [[PTE, 0n]] },
  ],
  66: [{ steps: { 2: OK, 3: NEW } }, { steps: { 2: OK, 3: NEW } }],
  68: [{ steps: { 2: OK } }, { steps: { 2: OK } }],
  70: [{ steps: { 2: "pa 0x113000" } }, { steps: { 2: "pa 0x113000" } }],
  71: [{ steps: { 3: NEW } }, { steps: { 3: OK } }],
  72: [{ steps: { 3: NEW } }, { steps: { 3: OK } }],
  73: ["n/a", "="],
  74: ["n/a", { steps: { 5: NEW } }],
  75: ["n/a", { steps: { 5: NEW } }],
  76: [{ steps: { 0: "#PF 0x00" } }, "="],
  77: [{ words: [[PTE, 0x11_0025n]] }, "="],
  80: [{ words: [[PTE, 0x11_0067n]] }, { words: [[PTE, 0x11_0067n]] }],
  83: [{ steps: { 0: "#GP" } }, "="],
  84: [{ steps: { 0: "#PF 0x04" } }, "="],
  85: ["=", "n/a"],
  86: ["=", "n/a"],
  90: ["n/a", "="],
  91: ["n/a", "="],
  92: ["n/a", "="],
  93: ["n/a", "="],
  94: ["n/a", "="],
  95: ["n/a", "="],
  96: ["n/a", "="],
  97: ["n/a", "."],
  98: ["n/a", "."],
  99: ["n/a", "."],
  100: ["n/a", "."],
  ...Object.fromEntries(NOT_MEASURED.map(({ id }) => [id, [".", "."] as const])),
};
