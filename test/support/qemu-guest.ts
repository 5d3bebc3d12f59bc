import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PhysicalPages } from "./physical-pages.ts";

const QEMU = "qemu-system-x86_64";
const ROOT = 0x10_0000;
const TABLE_PAGES = 7;
const BOOT_TIMEOUT_MS = 60_000;
const POLL_MS = 100;

/**
 * A boot sector that turns on long mode with the tables at 1 MiB, writes K to the debug console and stays there:
 *
 *     cli; ds = 0; lgdt; cr4 = 0x6b0; cr3 = 0x100000; EFER |= LME | NXE; cr0 |= PG | WP | PE; jump to 64-bit code;
 *     out 0xe9, 'K'; jump to itself
 *
 * Assembled by GNU as; behind the code stand a code segment's descriptor and the operand of LGDT.
 */
const BOOT_CODE =
  "fa31c08ed82e660f0116587c66b8b00600000f22e066b8000010000f22d866b9800000c00f32660d000900000f300f20c0660d" +
  "010001800f22c066ea427c00000800b04be6e9ebfe0000000000000000ffff0000009aaf000f00487c0000";

/** Whether QEMU is installed. */
export function hasQemu(): boolean {
  return spawnSync(QEMU, ["--version"]).status === 0;
}

/** The guest's tables: large and small pages, every flag, both halves of the space. */
function tables(): Uint8Array {
  const table = (index: number): bigint => BigInt(ROOT + index * 4096);
  const memory = new PhysicalPages()
    .path(ROOT, 0n, [table(1) | 0x67n, table(2) | 0x67n, 0xe3n])
    .entry(ROOT + 0x2008, 0x8000_0000_0020_00e3n)
    .path(ROOT, 0x40_0000n, [table(1) | 0x67n, table(2) | 0x67n, table(3) | 0x67n, 0x8000_0000_0012_3867n])
    .path(ROOT, 0xffff_8880_0000_0000n, [table(4) | 0x63n, 0x8000_0000_0000_00e3n])
    .path(ROOT, 0xffff_ffff_8000_0000n, [table(5) | 0x63n, table(6) | 0x63n, 0x100_01e1n]);
  for (const [index, flags] of [0x63n, 0x65n, 0x161n, 0x7bn, 0x25n].entries()) {
    memory.entry(ROOT + 0x3008 + 8 * index, BigInt(0x20_0000 + index * 4096) | flags);
  }
  const image = new Uint8Array(TABLE_PAGES * 4096);
  for (const { physical, bytes } of memory.pages) image.set(bytes, physical - ROOT);
  return image;
}

/**
 * Boots the guest, stops it, and runs monitor commands; returns what the monitor printed. Files go to `directory`.
 * Rejects when the guest does not come up within a minute.
 */
export async function runQemu(directory: string, commands: readonly string[]): Promise<string> {
  const boot = new Uint8Array(512);
  boot.set(Buffer.from(BOOT_CODE, "hex"));
  boot.set([0x55, 0xaa], 510);
  const file = (name: string): string => join(directory, name);
  writeFileSync(file("boot.bin"), boot);
  writeFileSync(file("tables.bin"), tables());
  const options = [
    ["-cpu", "max,la57=off", "-m", "16", "-smp", "2", "-nodefaults", "-display", "none", "-monitor", "stdio"],
    ["-drive", `file=${file("boot.bin")},format=raw`],
    ["-device", `loader,file=${file("tables.bin")},addr=0x${ROOT.toString(16)},force-raw=on`],
    ["-debugcon", `file:${file("console")}`],
  ].flat();
  const qemu = spawn(QEMU, options, { stdio: ["pipe", "pipe", "inherit"] });
  let printed = "";
  qemu.stdout.on("data", (text: Buffer) => {
    printed += text.toString("latin1");
  });
  const ended = new Promise<void>((resolve) => qemu.on("close", () => resolve()));
  try {
    const limit = Date.now() + BOOT_TIMEOUT_MS;
    while (!existsSync(file("console")) || !readFileSync(file("console"), "latin1").includes("K")) {
      if (Date.now() > limit) throw new Error("the guest did not come up");
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    qemu.stdin.write(["stop", ...commands, "quit", ""].join("\n"));
    await ended;
  } finally {
    qemu.kill();
  }
  return printed.replaceAll("\r", "");
}
