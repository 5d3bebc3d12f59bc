import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { PhysicalPages } from "../../support/physical-pages.ts";
import { buildCore, GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

/** What people asked in public, as small inputs with the right answer; ids are those of the collection. */
const directory = new GuestDirectory();
afterAll(() => directory.remove());

const GUEST = "src/samples/guest-a1";

function core(name: string, memory: PhysicalPages): string {
  return directory.write(name, buildCore(memory.pages, null));
}

/** A raw file of a size, of which only the pages with something in them take room. */
function sparse(name: string, memory: PhysicalPages, size: number): string {
  const file = directory.write(name, new Uint8Array(0));
  const descriptor = openSync(file, "r+");
  for (const { physical, bytes } of memory.pages) writeSync(descriptor, bytes, 0, bytes.length, physical);
  ftruncateSync(descriptor, size);
  closeSync(descriptor);
  return file;
}

/** One page at a linear address, its tables in the four pages from `root` on. */
function onePage(root: number, linear: bigint, leaf = 0x1_2345_067n): PhysicalPages {
  const table = (index: number): bigint => BigInt(root + index * 4096) | 0x67n;
  return new PhysicalPages().path(root, linear, [table(1), table(2), table(3), leaf]);
}

describe("F05: a supervisor read of a user page, from an oops", () => {
  const entries = [0x8000_0002_32ed_e067n, 0x2_32d6_0067n, 0x2_32f7_c067n, 0x8000_0002_03f1_2867n];
  const file = core("f05.elf", new PhysicalPages().path(0x1000, 0x7fff_e354_2f90n, entries));
  const args = ["walk", file, "--cr3", "1000", "7fffe3542f90", "--supervisor"];

  test("with the machine's CR4 SMAP refuses it, and the line says whose CR4 it is", async () => {
    const { output, status } = await runHere([...args, "--cr4", "3606f0"]);
    expect(status).toBe(0);
    expect(output).toMatch(/#PF 0x01 at 0x7fffe3542f90: .*SMAP/);
    expect(output).toMatch(/^assumed: .*CR4 0x3606f0 \(--cr4\)/m);
  });

  test("with bit 21 clear it is allowed; so it is with what kernels usually set, and that is said", async () => {
    const { output } = await runHere([...args, "--cr4", "1606f0"]);
    expect(output).toContain("-> physical 0x203f12f90");
    const usual = await runHere(args);
    expect(usual.output).toContain("-> physical 0x203f12f90");
    expect(usual.output).toMatch(/^assumed: CR0 0x80010033, CR4 0xa0, EFER 0xd01, .*\(default\)/m);
  });
});

describe("F08: cores of kexec and /proc/kcore", () => {
  test("ragged ends, the same memory twice, and segments without an address", async () => {
    const root = 0x10_0000;
    const { pages } = onePage(root, 0x40_0000n);
    const memory = Buffer.concat(pages.map(({ bytes }) => bytes));
    const text = new Uint8Array(0x1000).fill(0xcc);
    const bytes = buildCore(
      [
        { physical: root + 0x2000, bytes: new Uint8Array(memory.subarray(0x2000, 0x3000)) },
        { physical: 0x1000, bytes: new Uint8Array(0x94c00 % 0x5000) },
        { physical: root, bytes: new Uint8Array(memory) },
        { physical: 0, bytes: text },
      ],
      null,
    );
    // The last one is kcore's vmalloc area: no address, and a size that no file has.
    const view = new DataView(bytes.buffer);
    const last = 64 + 4 * 56;
    view.setBigUint64(last + 24, 2n ** 64n - 1n, true);
    for (const at of [32, 40]) view.setBigUint64(last + at, 35_184_372_088_831n, true);
    const { output, errors } = await runHere([
      "walk",
      directory.write("f08.elf", bytes),
      "--cr3",
      "100000",
      "400123",
    ]);
    expect(errors).toBe("");
    expect(output).toContain("-> physical 0x12345123");
  });
});

describe("F11: an encrypted guest", () => {
  const C = 1n << 51n;
  const tables = [0x1000_1063n | C, 0x1000_2063n | C, 0x1000_3063n | C];
  const memory = new PhysicalPages()
    .path(0x1000_0000, 0xffff_8880_0000_1000n, [...tables, 0x8008_0000_0012_3163n], 4, C)
    .path(0x1000_0000, 0xffff_8880_0000_2000n, [...tables, 0x8000_0000_0012_4163n], 4, C);
  const args = (command: string): string[] => [
    command,
    core("f11.elf", memory),
    "--cr3",
    "8000010000000",
    "--cpu",
    "amd-zen4",
    "--maxphyaddr",
    "43",
  ];

  test("the C-bit is no part of an address and never reserved, and is shown", async () => {
    const { output } = await runHere([
      ...args("walk"),
      "ffff888000001000",
      "ffff888000002000",
      "--cbit",
      "51",
    ]);
    expect(output).toContain("-> physical 0x123000");
    expect(output).toContain("the page is encrypted");
    expect(output).toContain("0x8008000000123163  P R/W A D G XD encrypted");
    expect(output).toContain("-> physical 0x124000");
    expect(output).toContain("the page is not encrypted");
  });

  test("dump lists both, and filters by it", async () => {
    const all = await runHere([...args("dump"), "--cbit", "51"]);
    expect(all.output).toMatch(/ {2}0000000123000 .* encrypted$/m);
    expect(all.output).toMatch(/ {2}0000000124000 .* not encrypted$/m);
    const json = await runHere([...args("dump"), "--cbit", "51", "--filter", "c", "--json"]);
    const { ranges } = JSON.parse(json.output) as { ranges: object[] };
    expect(ranges).toMatchObject([{ physical: "0x123000", marked: "encrypted" }]);
  });

  test("without the option the root is not there, with a hint", async () => {
    const { status, errors } = await runHere(["dump", core("f11.elf", memory), "--cr3", "8000010000000"]);
    expect(status).toBe(1);
    expect(errors).toContain("--cbit 51");
  });

  test("TDX: the same bit with the inverted sense", async () => {
    const { output } = await runHere([...args("dump"), "--shared-bit", "51"]);
    expect(output).toMatch(/ {2}0000000123000 .* shared$/m);
    expect(output).toMatch(/ {2}0000000124000 .* private$/m);
  });
});

describe("F13: one table overwritten by something else", () => {
  const memory = onePage(0x1000, 0x40_0000n).entry(0x3000 + 5 * 8, 0x48b4_c244_4894_8067n);
  const file = core("f13.elf", memory);

  test("the rest is listed, and one line says what is not", async () => {
    const { status, output } = await runHere(["dump", file, "--cr3", "1000"]);
    expect(status).toBe(0);
    expect(output).toMatch(/^0000000000400000-0000000000401000 /m);
    expect(output).toContain("\n0xa00000-0xc00000: table at 0x4c24448948000 is not in the image\n");
  });

  test("a range that does not touch it does not mention it; other formats say it beside", async () => {
    const part = await runHere(["dump", file, "--cr3", "1000", "--range", "400000-600000"]);
    expect(part.output).toContain("1 range; present pages: 1 of 4K; 4 tables\n");
    expect(part.output).not.toContain("is not in the image");
    const pt = await runHere(["dump", file, "--cr3", "1000", "--as", "pt"]);
    expect(pt.output).not.toContain("not in the image");
    expect(pt.errors).toContain("0xa00000-0xc00000: table at 0x4c24448948000 is not in the image");
    const json = await runHere(["dump", file, "--cr3", "1000", "--json"]);
    expect(JSON.parse(json.output)).toMatchObject({
      missingTables: 1,
      missing: [{ start: "0xa00000", length: 0x20_0000, table: "0x4c24448948000" }],
    });
  });
});

describe("F22: memory above 8 GiB", () => {
  test("a small core whose tables lie high", async () => {
    const memory = onePage(0x2_32ed_e000, 0x40_0000n);
    const { output } = await runHere(["walk", core("f22.elf", memory), "--cr3", "232ede000", "400000"]);
    expect(output).toContain("-> physical 0x12345000");
  });

  test("a 9-GiB sparse raw file, and the highest page of 52 bits", async () => {
    const raw = sparse("f22.raw", onePage(0x2_3000_0000, 0x40_0000n), 9 * 2 ** 30);
    const args = ["--cr3", "230000000", "400000"];
    expect((await runHere(["walk", raw, ...args])).output).toContain("-> physical 0x12345000");
    const top = 2 ** 52 - 0x4000;
    const high = core("top.elf", onePage(top, 0x40_0000n, 0xf_ffff_ffff_f067n));
    const { output } = await runHere(["dump", high, "--cr3", top.toString(16)]);
    expect(output).toMatch(/^0000000000400000-.* ffffffffff000 /m);
  });

  test("a core of 3 GiB + 2 GiB", async () => {
    const memory = onePage(0x1_4000_0000, 0x40_0000n);
    const file = directory.write(
      "f22b.elf",
      buildCore(
        [
          { physical: 0, bytes: new Uint8Array(4096), memorySize: 3 * 2 ** 30 },
          ...memory.pages,
          { physical: 0x1_4000_4000, bytes: new Uint8Array(0), memorySize: 2 * 2 ** 30 - 0x4000 },
        ],
        null,
      ),
    );
    const { output } = await runHere(["walk", file, "--cr3", "140000000", "400000"]);
    expect(output).toContain("-> physical 0x12345000");
  });
});

describe("E1: a Xen PV guest, whose entries hold machine frames", () => {
  test("each table costs a line, and the hint says what it may be", async () => {
    const memory = new PhysicalPages().entry(0x1000, 0x8_3640_e067n).entry(0x1ff8, 0x8_3640_f067n);
    const { status, output, errors } = await runHere(["dump", core("e1.elf", memory), "--cr3", "1000"]);
    expect(status).toBe(1);
    expect(output).toContain("0x0-0x8000000000: table at 0x83640e000 is not in the image");
    expect(errors).toMatch(/nothing is mapped here: .*Xen PV guest/);
  });
});

test("E3: a protection key, and PKRU by option", async () => {
  const args = ["walk", GUEST, "--process", "pkey", "0x180000004000"];
  const denied = await runHere([...args, "--pkru", "4"]);
  expect(denied.output).toContain("error code 0x25");
  expect(denied.output).toContain("PKRU 0x4 (--pkru)");
  expect((await runHere(args)).output).toContain("PKRU 0x0, PKRS 0x0 (default)");
});

test("E4: CR3 with the bits of LAM", async () => {
  const file = core("e4.elf", onePage(0x1000_0000, 0x40_0000n));
  const args = ["walk", file, "--cr3", "2000000010000006", "400000"];
  const plain = await runHere(args);
  expect(plain.output).toContain("-> physical 0x12345000");
  expect(plain.output).toContain("CR3 has LAM bits: ignored, as intel-sapphire-rapids has no LAM");
  const tagged = await runHere([...args, "7e00000000400000", "--cpu", "intel-arrow-lake"]);
  expect(tagged.output).toContain("user pointers carry metadata");
  expect(tagged.output.match(/-> physical 0x12345000/g)).toHaveLength(2);
});

test("E5: QEMU's core of a CPU outside long mode", async () => {
  const bytes = buildCore(onePage(0x1000, 0x40_0000n).pages, null).slice();
  bytes[18] = 3;
  const file = directory.write("e5.elf", bytes);
  const { output } = await runHere(["walk", file, "--cr3", "1000", "400000"]);
  expect(output).toContain("-> physical 0x12345000");
});

test("E6: a table of 512 equal entries", async () => {
  const memory = new PhysicalPages();
  for (let index = 0; index < 512; index++) memory.entry(0x4000 + index * 8, 0x5067n);
  memory.path(0x1000, 0n, [0x2067n, 0x3067n, 0x4067n]);
  const { output } = await runHere(["dump", core("e6.elf", memory), "--cr3", "1000"]);
  expect(output).toMatch(/^0{16}-0{10}200000 .* same frames 512 times in a row$/m);
  expect(output).toContain("1 range; present pages: 512 of 4K");
});
