import { describe, expect, test } from "vitest";
import { parseOops } from "../../../src/inspect/oops-text.ts";

const LINES = [
  "[    5.1] BUG: unable to handle page fault for address: ffffc9000002d000",
  "[    5.2] #PF: supervisor write access in kernel mode",
  "[    5.3] #PF: error_code(0x000b) - reserved bit violation",
  "[    5.4] PGD 3400067 P4D 3400067 PUD 35a7067 PMD 35a8067 PTE 800000fffffee163",
  "[    5.5] Oops: 000b [#1] PREEMPT SMP NOPTI",
  "[    5.6] RIP: 0010:memset_orig+0x33/0xb0",
  "[    5.7] CR2: ffffc9000002d000 CR3: 0000000003000000 CR4: 00000000000006f0",
];

describe("the lines of an oops", () => {
  const whole = parseOops(LINES.join("\n"));

  test("are all found", () => {
    expect(whole).toMatchObject({
      fiveLevels: false,
      address: 0xffff_c900_0002_d000n,
      errorCode: 0x0b,
      rip: "memset_orig+0x33/0xb0",
      registers: { cr3: 0x300_0000n, cr4: 0x6f0n },
      twice: [],
    });
    expect(whole.entries.map(({ name, level }) => `${name} ${level}`)).toEqual([
      "PGD 4",
      "PUD 3",
      "PMD 2",
      "PTE 1",
    ]);
  });

  test("in any order, and with Windows's line ends", () => {
    for (let turn = 0; turn < LINES.length; turn++) {
      const lines = [...LINES.slice(turn), ...LINES.slice(0, turn)].reverse();
      expect(parseOops(lines.join("\r\n"))).toEqual(whole);
    }
  });

  test.each([
    ["PGD 1067 P4D 2067 PUD 3067", "PGD 5, P4D 4, PUD 3"],
    ["PGD 1067 P4D 1067 PUD 3067 CR4: 1000", "PGD 5, P4D 4, PUD 3"],
    ["PGD 0 P4D 0", "PGD 4"],
    ["pte:fd20b000 pmd:1234067", "PMD 2, PTE 1"],
    ["mm/pgtable-generic.c:50: bad pmd ffff888012345678(8000000012345067)", "PMD 2"],
    ["pte be careful, pmd bad, PUD: none", ""],
  ])("%s", (text, found) => {
    expect(
      parseOops(text)
        .entries.map(({ name, level }) => `${name} ${level}`)
        .join(", "),
    ).toBe(found);
  });

  test("two values of one name are said", () => {
    expect(parseOops("PTE 1067 PTE 2067 PTE 1067")).toMatchObject({
      twice: ["PTE"],
      entries: [{ value: 0x1067n }],
    });
  });

  test.each([
    ["segfault at 7f0000001234 ip 0000 sp 0000 error 14 in libc.so", 0x7f00_0000_1234n, 0x14],
    ["BUG: kernel NULL pointer dereference, address: 0000000000000008\nOops: Oops: 0002 [#1]", 8n, 2],
    ["nothing here", null, null],
  ])("%s", (text, address, errorCode) => {
    expect(parseOops(text)).toMatchObject({ address, errorCode });
  });
});
