import { describe, expect, test } from "vitest";
import { Entry } from "../../../arch/x86/cpu/entry.ts";
import { WIDEST_LAYOUT } from "../../../arch/x86/cpu/entry-layout.ts";
import { decodeEntry, type LinuxLevel } from "../../../src/inspect/decode-report.ts";
import { DOUBTS, doubtsOf } from "../../../src/inspect/doubts.ts";
import { FILL_PATTERNS } from "../../../src/inspect/fill-patterns.ts";
import { linuxPteFormat } from "../../../src/inspect/linux-reading.ts";

/** The doubts about a value, as lines "id: text". */
function doubts(value: bigint, level: LinuxLevel = "pte", kernel = "linux-6.1", maxPhyAddr = 52): string[] {
  const layout = { ...WIDEST_LAYOUT, maxPhyAddr };
  const formats = [linuxPteFormat(kernel, null)];
  const decoded = decodeEntry(Entry.fromBigInt(value), level, 4, layout, formats);
  return doubtsOf(decoded, maxPhyAddr).map(({ id, text }) => `${id}: ${text}`);
}

/** The words that each doubt must say of its example. */
const SAYS: Readonly<Record<string, RegExp>> = {
  "all-ones": /no memory or device answers/,
  poison: /freed slab memory/,
  text: /"aple.com"/,
  "repeated-byte": /every byte is 0x17/,
  "error-number": /error number -14 /,
  "kernel-pointer": /the direct map/,
  "user-pointer": /address of a user program/,
  "floating-point": /it is 100:/,
  "small-number": /a small number \(30\)/,
  level: /another level: as a pmd it is present, first frame 0x40000; as a pud/,
  "page-size": /rather a pte, where bit 7 is PAT: present, frame 0x12345$/,
  "swap-beyond": /beyond any swap area.*likelier: .*transition.*frame 0x60533/,
  "frame-beyond": /frame 0x4c24448948 is beyond 64 TiB/,
  "special-type": /a swap-in error has no offset/,
  "lost-low-bits": /the address 0xfd20b000 that lost its flags/,
  "byte-swapped": /reverse order \(big-endian\) make 0x8000000012345867/,
  "halves-swapped": /halves exchanged make 0x8000000012345867/,
  shifted: /read 1 byte off its place makes 0x8000000012345867/,
  "two-short-entries": /0x12345067 and 0x12346067: tables without PAE/,
  "one-bit": /only bit 27 is set: .*one flipped bit/,
  "stray-swap-bits": /bits 4, 7: no kernel/,
  "file-mapping": /before 4.0 .*nonlinear file mapping/,
  "foreign-bits": /57:52.*--as windows/,
  "ept-table": /a table entry of an EPT, rwx/,
  "ept-leaf": /leaf of an EPT it is rwx, write-back/,
  "encryption-bit": /without bit 51 .*--cbit 51/,
  "frame-zero": /frame 0 belongs to the firmware/,
};

describe("each doubt speaks of its example", () => {
  test.each(DOUBTS.map((doubt) => [doubt.id, doubt] as const))("%s", (id, { example }) => {
    const { value, level, kernel } = example;
    const said = doubts(value, level, kernel).find((line) => line.startsWith(`${id}: `));
    expect(said).toMatch(SAYS[id]!);
  });

  test("the table of words above has every doubt once", () => {
    expect(Object.keys(SAYS).sort()).toEqual(DOUBTS.map(({ id }) => id).sort());
    expect(new Set(DOUBTS.map(({ id }) => id)).size).toBe(DOUBTS.length);
  });

  test.each(FILL_PATTERNS)("the pattern of $who", ({ value }) => {
    expect(doubts(value)).toEqual([expect.stringMatching(/^(?:poison|all-ones): /)]);
  });
});

describe("what machines hold is not doubted", () => {
  const PLAIN: readonly (readonly [bigint, LinuxLevel?, string?])[] = [
    [0n],
    [0x60n],
    [0x8000_0000_1234_5867n],
    [0x1234_5025n],
    [0x8000_0000_1234_5225n],
    [0x8400_0000_1234_5227n],
    [0xa800_0000_1234_5025n],
    [0x8000_00ff_fffe_e163n],
    [0x77_7067n, "pmd"],
    [0x8000_0002_32ed_e067n, "pgd"],
    [0x8000_0000_4000_00e7n, "pmd"],
    [0x8000_0000_4000_00e7n, "pud"],
    [0x8000_0000_4000_10e7n, "pmd"],
    [0x07ff_ffff_ffff_fc00n],
    [0x0fff_ffff_ffdb_9602n],
    [0x07ff_ffff_ffff_fc0en],
    [0x000f_ffff_edcb_a120n],
    [0xd7ff_ffff_fdb9_7400n],
    [0x4000n, "pte", "linux-4.13"],
    [0x4080n, "pte", "linux-4.13"],
    [0x048d_0280n, "pte", "linux-4.13"],
    [0x48d1_7e80n, "pte", "linux-4.13"],
    [0x1234_5960n, "pte", "linux-4.13"],
    [0x200n, "pte", "linux-4.7"],
    [0x24_6882n, "pte", "linux-4.7"],
    [0x0246_8a3en, "pte", "linux-4.7"],
  ];
  const cases = PLAIN.map(([value, level = "pte", kernel = "linux-6.1"]) => ({ value, level, kernel }));
  test.each(cases)("$value, $level of $kernel", ({ value, level, kernel }) => {
    expect(doubts(value, level, kernel)).toEqual([]);
  });

  test("pages of all kinds of flags below 4 TiB", () => {
    for (let frame = 0x1000n; frame < 0x4000_0000n; frame *= 7n) {
      for (const flags of [0x25n, 0x27n, 0x67n, 0x867n, 0x063n, 0x163n, 0x161n, 0x1e3n]) {
        for (const top of [0n, 1n << 63n]) expect(doubts(top | (frame << 12n) | flags)).toEqual([]);
      }
    }
  });
});

test("a frame beyond the CPU's own width is doubted", () => {
  expect(doubts(0x8000_00ff_fffe_e163n, "pte", "linux-6.1", 39)).toContainEqual(
    "frame-beyond: frame 0xfffffee is beyond the 39 address bits of the CPU",
  );
});

test("a page of the kernel's that it unmapped is told from swap, with its frame", () => {
  expect(doubts(0x800f_ffff_f79e_2060n)).toEqual([
    expect.stringMatching(
      /^swap-beyond: .*likelier: a page that the kernel unmapped for itself .*, frame 0x861d$/,
    ),
  ]);
});

test("a shape says it alone: its parts are not doubted", () => {
  expect(doubts(0xffff_8881_0123_4067n)).toEqual([expect.stringMatching(/^kernel-pointer: /)]);
});
