import { afterAll, describe, expect, test } from "vitest";
import { GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

/** What people asked in public about single entries; ids are those of the collection. */
const directory = new GuestDirectory();
afterAll(() => directory.remove());

async function decode(...args: string[]): Promise<string> {
  const { status, output, errors } = await runHere(["decode", ...args]);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  return output;
}

async function oops(text: string, ...args: string[]): Promise<string> {
  const file = directory.write("oops.txt", new TextEncoder().encode(text));
  return await decode("--oops", file, ...args);
}

describe("F01: bit 39 of an address", () => {
  test("the widths at which it faults are said", async () => {
    expect(await decode("800000fffffee163")).toContain("faults (#PF, RSVD) at MAXPHYADDR 36 to 39");
    const narrow = await decode("800000fffffee163", "--maxphyaddr", "39");
    expect(narrow).toMatch(/^rights {3}none: every use is a page fault \(RSVD\)/m);
    const wide = await decode("800000fffffee163", "--maxphyaddr", "40");
    expect(wide).toMatch(/^rights {3}supervisor read, write; accessed; dirty; global$/m);
  });

  test("with its upper entries and the error code, it is explained", async () => {
    const lines = [
      "error code: 0x0b",
      "address: ffffc9000002d000",
      "PTE 800000fffffee163 PMD 35a8067",
      "PUD 35a7067 PGD 3400067",
    ];
    const output = await oops(lines.join("\n"));
    expect(output).toContain("explained at MAXPHYADDR 36 to 39: #PF 0x0b, reserved bit, at the PTE");
  });
});

describe("F03: a swap entry of kernel 4.1, or an address that lost its flags", () => {
  test.each([[[]], [["--kernel", "linux-4.7"]]])("%j: both are said", async (options) => {
    const output = await decode("fd20b000", ...options);
    expect(output).toMatch(/swapped out: area 0, slot 8,294,488 \(0x7e9058\) \(linux-4.7\)/);
    expect(output).toContain("bits 11:0 are all zero: it may also be the address 0xfd20b000");
  });

  test("as the kernel printed it", async () => {
    const output = await oops(
      "BUG: Bad page map in process x  pte:fd20b000 pmd:1234067",
      "--kernel",
      "linux-4.7",
    );
    expect(output).toContain("Linux: swapped out: area 0, slot 8,294,488 (0x7e9058)");
  });
});

describe("F05: a supervisor read of a user page, from the lines of the kernel", () => {
  const lines = [
    "BUG: unable to handle kernel paging request at 00007fffe3542f90",
    "PGD 8000000232ede067 P4D 8000000232ede067 PUD 232d60067 PMD 232f7c067 PTE 8000000203f12867",
    "Oops: 0001 [#1] SMP PTI",
    "RIP: 0010:copy_it+0x12/0x90",
    "RSP: 0018:ffffc90000123e10 EFLAGS: 00010246",
    "CR2: 00007fffe3542f90 CR3: 0000000232f10002 CR4: 00000000003606f0",
  ];

  test("SMAP is what refused it, by the CR4 of the oops", async () => {
    const output = await oops(lines.join("\n"));
    expect(output).toMatch(/#PF 0x01 at 0x7fffe3542f90: .*SMAP/);
    expect(output).toContain("explained: the entries and registers give error code 0x01");
    expect(output).toMatch(/^assumed: .*CR4 0x3606f0 \(the oops\)/m);
  });

  test("without CR4 the switch that explains it is named", async () => {
    const output = await oops(lines.slice(0, 5).join("\n"));
    expect(output).toContain("explained if CR4.SMAP=1, which no line shows");
  });

  test("with bit 21 clear, or AC set, the entries allow it, and that is said", async () => {
    const off = await oops(lines.join("\n").replace("3606f0", "1606f0"));
    expect(off).toContain("not explained: the entries allow the access, the oops says 0x01");
    const ac = await oops(lines.join("\n").replace("00010246", "00050246"));
    expect(ac).toContain("not explained: the entries allow the access");
  });
});

describe("F07: entries of an EPT", () => {
  test.each([
    ["1000007abb7007", "pgd", /points to a table\naddress {2}0x7abb7000/],
    ["10000035a59007", "pud", /points to a table\naddress {2}0x35a59000/],
    ["1000007a88a007", "pmd", /points to a table\naddress {2}0x7a88a000/],
    [
      "1000005d48fc76",
      "pte",
      /misconfiguration: W=1 without R\naddress {2}0x5d48f000, .*\nrights {3}R=0 W=1 X=1 .*\ntype {5}WB \(bits 5:3 = 6\), ignore PAT/,
    ],
    ["10000037", "pmd", /misconfiguration: bits 6:3 are reserved in an entry that points to a table/],
    ["12345002", "pte", /misconfiguration: W=1 without R/],
    ["12345006", "pte", /misconfiguration: W=1 without R/],
    ["12345004", "pte", /legal only on a CPU with execute-only EPT, else a misconfiguration/],
    ["8000000012345000", "pte", /not present: .*EPT violation/],
  ])("%s as a %s", async (value, level, says) => {
    expect(await decode(value, "--as", "ept", "--level", level)).toMatch(says);
  });

  test("bit 52 of the leaf is software's", async () => {
    const output = await decode("1000005d48fc76", "--as", "ept", "-v");
    expect(output).toMatch(/^ {2}56:52 {2}ignored +0x1 /m);
  });

  test("taken for Linux's, the leaf is doubted", async () => {
    expect(await decode("1000005d48fc76")).toMatch(/^doubt .*misconfiguration: W=1 without R \(--as ept\)/m);
  });
});

describe("F10: entries of Windows", () => {
  test.each([
    ["0000200060533860", /transition.*\naddress {2}0x60533000, frame 0x60533 /],
    ["8e00d8c69a680400", /prototype\naddress {2}prototype entry at 0xffff8e00d8c69a68/],
    ["0a000001688c8867", /valid\naddress {2}0x1688c8000, frame 0x1688c8/],
    ["060000020115e025", /valid\naddress {2}0x20115e000, frame 0x20115e/],
  ])("%s", async (value, says) => {
    expect(await decode(value, "--as", "windows")).toMatch(says);
    expect(await decode(value)).toMatch(/^doubt .*--as windows/m);
  });
});

describe("F11: the C-bit of SEV, the shared bit of TDX", () => {
  const cpu = ["--cbit", "51", "--cpu", "amd-zen4", "--maxphyaddr", "43"];
  test.each([
    ["8008000000123163", "address  0x123000, frame 0x123; encrypted"],
    ["8000000000124163", "address  0x124000, frame 0x124; not encrypted"],
  ])("%s", async (value, says) => {
    const output = await decode(value, ...cpu);
    expect(output).toContain(says);
    expect(output).not.toMatch(/^doubt|reserved/m);
    expect(output).toContain(`0x${value}`);
    expect(output).toMatch(/^assumed: .*bit 51 set: encrypted \(--cbit\)/m);
  });

  test("TDX has the inverted sense", async () => {
    expect(await decode("8008000000123163", "--shared-bit", "51")).toContain("frame 0x123; shared");
    expect(await decode("8000000000123163", "--shared-bit", "51")).toContain("frame 0x123; private");
  });

  test("without the option the likelier reading is said", async () => {
    expect(await decode("8008000000123163")).toMatch(/^doubt .*--cbit 51/m);
  });
});

describe("F20: words of /proc/PID/pagemap", () => {
  test.each([
    [
      "8180000000000000",
      /present, exclusive \(mapped once\), soft-dirty\naddress {2}frame hidden: .*CAP_SYS_ADMIN/,
    ],
    [
      "81800000000083d7",
      /present, exclusive \(mapped once\), soft-dirty\naddress {2}0x83d7000, frame 0x83d7/,
    ],
    ["4080000000000022", /swapped.*soft-dirty\naddress {2}swap type 2, offset 1 /],
    ["0080000000000000", /not mapped, soft-dirty\naddress {2}none/],
  ])("%s", async (value, says) => {
    expect(await decode(value, "--as", "pagemap")).toMatch(says);
  });
});
