import { execFileSync } from "node:child_process";
import { afterAll, describe, expect, test } from "vitest";
import { GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

async function lines(...args: string[]): Promise<string[]> {
  const { status, output, errors } = await runHere(["decode", ...args]);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  return output.trimEnd().split("\n");
}

describe("ptescope decode", () => {
  test("five lines, and the one that says what was assumed", async () => {
    expect(await lines("0x8000000012345867")).toEqual([
      "0x8000000012345867  pte: present, maps a page of 4 KiB",
      "address  0x12345000, frame 0x12345",
      "rights   user read, write; accessed; dirty",
      "type     WB (entry 0 of IA32_PAT)",
      "Linux    present, frame 0x12345; PRESENT|RW|USER|ACCESSED|DIRTY|SOFT_DIRTY|NX (linux-6.1)",
      "assumed: CR0 0x80010033, CR4 0xa0, EFER 0xd01, PKRU 0x0, PKRS 0x0 (default); PAT 0x407050600070106 (Linux's); CPU intel-sapphire-rapids (default)",
    ]);
  });

  test("-v shows every field", async () => {
    const told = await lines("0x8000000012345867", "-v");
    expect(told).toContain("  51:12  address    0x12345000       physical address of the 4-KiB page");
    expect(await lines("0x8000000012345867", "--verbose")).toEqual(told);
  });

  test("memory types have names, by Linux's PAT or the one given", async () => {
    expect(await lines("0x1234506f")).toContain("type     WC (entry 1 of IA32_PAT)");
    expect(await lines("0x1234506f", "--pat", "0007040600070406")).toContain(
      "type     WT (entry 1 of IA32_PAT)",
    );
    expect(await lines("0x123450ef", "--cr0", "c0010033")).toContain(
      "type     UC: CR0.CD=1 (entry 5 of IA32_PAT)",
    );
    expect(await lines("0x12345067", "--level", "pmd")).toContain(
      "type     the table itself is read as WB (entry 0 of IA32_PAT)",
    );
  });

  test("registers count: keys with CR4.PKE, XD without NXE", async () => {
    const keys = (await lines("a800000012345025", "--cr4", "4000a0"))[2];
    expect(keys).toBe("rights   user read; key 5; accessed");
    expect((await lines("a800000012345025"))[2]).toContain("key 5, ignored: CR4.PKE=0 and PKS=0");
    expect((await lines("8000000012345067", "--no-nx"))[2]).toContain(
      "every use is a page fault (RSVD), for XD 63",
    );
  });

  test.each(["0b100101", "0B100101", "25", "0x25", "0x0000_0025", "00000000`00000025", "0x25ULL"])(
    "%s is 0x25",
    async (text) => {
      expect((await lines(text))[0]).toMatch(/^0x0000000000000025 {2}pte: present/);
    },
  );

  test("a level that the value does not fit is said once", async () => {
    const told = await lines("80000000400000e7", "--level", "pgd");
    expect(told.filter((line) => line.includes("level:"))).toEqual([
      "doubt    rather of another level: as a pmd it is present, first frame 0x40000; as a pud it is present, first frame 0x40000; as a pte it is present, frame 0x40000",
    ]);
    expect(told.slice(0, 4)).toEqual([
      "0x80000000400000e7  pgd: present, but reserved bits are set: maps nothing",
      "address  none: this level maps no page",
      "rights   none: every use is a page fault (RSVD), for PS 7",
      "type     none",
    ]);
    const swapped = await lines("07fffffffffffc00", "--level", "p4d");
    expect(swapped.at(-2)).toBe(
      "doubt    rather of another level: as a pte it is swapped out: area 0, slot 1 (0x1)",
    );
  });

  test("--kernel all: one line each", async () => {
    const told = await lines("000fffffedcba120", "--kernel", "all");
    expect(told[1]).toBe("address  none for the hardware; the kernels differ");
    expect((await lines("000fffffedcba120"))[1]).toContain("Linux keeps frame 0x12345 in it");
    expect(told.filter((line) => /\((?:linux-|l1tf)/.test(line))).toHaveLength(6);
  });

  test("--json has the same, with the doubts and the state", async () => {
    const [json = ""] = await lines("fd20b000", "--json");
    expect(JSON.parse(json)).toMatchObject({
      format: "ptescope-decode",
      rights: "none: every access is a page fault",
      memoryType: "none",
      doubts: [{ id: "swap-beyond" }, { id: "lost-low-bits" }],
      assumed: { cr4: { value: "0xa0", from: "default" } },
    });
    const [ept = ""] = await lines("1000005d48fc76", "--as", "ept", "--json");
    expect(JSON.parse(ept)).toMatchObject({
      format: "ptescope-decode-ept",
      broken: true,
      frame: 0x5d48f,
      doubts: [],
    });
  });

  test("words of other formats are doubted by their shape and their frame", async () => {
    expect((await lines("6b6b6b6b6b6b6b6b", "--as", "windows")).join("\n")).toContain("freed slab memory");
    expect((await lines("807fffffffffffff", "--as", "pagemap")).join("\n")).toMatch(/doubt .*beyond/);
  });
});

test("a file in the place of the value: the line says how it is given", async () => {
  const file = directory.write("an-oops.txt", new Uint8Array(1));
  const { status, errors } = await runHere(["decode", file]);
  expect(status).toBe(2);
  expect(errors).toMatch(/^ptescope decode: value ".*" is a file: for an oops in it say --oops FILE\n$/);
});

describe("ptescope decode of an oops", () => {
  const text = "CR2: 0000000000001008\nPGD 5067 P4D 5067 PUD 6067 PMD 7067 PTE 0\nOops: 0002\n";

  test("from standard input", () => {
    const output = execFileSync("node", ["--import", "tsx", "src/cli/main.ts", "decode", "-"], {
      input: text,
      encoding: "utf8",
    });
    expect(output).toContain("explained: the entries and registers give error code 0x02");
  });

  async function explained(...args: [string, ...string[]]): Promise<string> {
    const [told, ...options] = args;
    const file = directory.write("oops.txt", new TextEncoder().encode(told));
    return (await lines("--oops", file, ...options)).join("\n");
  }

  test("the bit that marks pages is no part of a table's address", async () => {
    const marked =
      "PGD 8008000000007067 PUD 8000000200067 PMD 80080000004000e7\nCR2: 8 CR3: 80000010ff000 error 7";
    const output = await explained(marked, "--cbit", "51");
    expect(output).toMatch(/PDPTE {2}0x0000000007000 {2}0x0008000000200067 .* encrypted/);
    expect(output).toContain("-> physical 0x400008");
    expect(output).toContain("the page is encrypted");
  });

  test("features that CR4 has on are the CPU's, unless a model was asked for", async () => {
    const lam = `${text}CR4: 00000000100006f0`;
    expect(await explained(lam)).toContain("explained: ");
    const file = directory.write("lam.txt", new TextEncoder().encode(lam));
    const { status, errors } = await runHere(["decode", "--oops", file, "--cpu", "amd-zen3"]);
    expect({ status, errors }).toEqual({ status: 2, errors: expect.stringContaining("amd-zen3 has no lam") });
  });

  test("what is missing or contradicts itself is said", async () => {
    expect(await explained("PUD 2067\nCR2: 1000")).toMatch(
      /the text has no entry of the table at 0x2000[\s\S]*give the entry of the next table[\s\S]*no line has the PML4E/,
    );
    expect(await explained("PGD 1067 PUD 2067 PMD 0\nCR2: 8 CR3: 1000")).toContain(
      "two of the entries would stand at 0x1000: they are not of one walk",
    );
    const impossible = await explained("PTE 0\nerror_code(0x0022)");
    expect(impossible).toContain("cannot be: PK without P");
    expect(impossible).toContain("no line tells the address (CR2)");
    expect(await explained("PTE 6b6b6b6b6b6b6b6b")).toContain(
      "doubt about the PTE: the pattern of freed slab",
    );
  });

  test("as JSON", async () => {
    const file = directory.write("a.txt", new TextEncoder().encode(text));
    const [json = ""] = await lines("--oops", file, "--json");
    expect(JSON.parse(json)).toMatchObject({
      format: "ptescope-oops",
      errorCode: "0x02",
      explained: true,
      walk: { end: { kind: "fault", errorCode: 2 } },
    });
  });

  const nothing = directory.write("nothing.txt", new TextEncoder().encode("\x1b[31mno \u202e entry\n"));
  test.each([
    [["--oops", "no\nfile"], '"no\\x0afile": it cannot be read (ENOENT)'],
    [["--oops", "."], '".": it cannot be read (EISDIR)'],
    [["--oops", nothing, "--level", "pmd"], "--level: it does not apply to an oops"],
    [["--oops", nothing, "--as", "ept"], "--as: it does not apply to an oops"],
    [["--oops", nothing, "1"], 'unexpected argument "1"; usage'],
    [["--oops", nothing], "no line with an entry; give lines such as"],
    [["1", "--as", "pagemap", "--kernel", "all"], "--kernel: --as pagemap is no entry of Linux's"],
    [["1", "--as", "xml"], '--as "xml": give one of entry, pagemap, ept, windows'],
    [["1g"], 'value "1g": give up to 16 hexadecimal digits, or 0b and up to 64 binary ones'],
  ])("%j", async (args, message) => {
    const { status, output, errors } = await runHere(["decode", ...args]);
    expect({ status, output }).toEqual({ status: 2, output: "" });
    expect(errors).toContain(message);
    expect(errors.split("\n")).toHaveLength(2);
  });
});
