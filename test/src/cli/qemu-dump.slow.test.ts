import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { hasQemu, runQemu } from "../../support/qemu-guest.ts";
import { GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const directory = new GuestDirectory();
afterAll(() => directory.remove());

const CORE = "test/data/qemu/core.elf.gz";

describe("E2: a core of QEMU needs no --cr3", () => {
  test("dump takes the registers from the note of CPU 0, and equals QEMU's own info tlb", async () => {
    const { output, status } = await runHere(["dump", CORE, "--as", "qemu-tlb"]);
    expect(status).toBe(0);
    expect(output).toBe(readFileSync("test/data/qemu/info-tlb.txt", "latin1"));
  });

  test("walk says where each register comes from", async () => {
    const { output } = await runHere(["walk", CORE, "400123"]);
    expect(output).toMatch(/^CPU 0: root 0x100000, 4 levels/);
    expect(output).toContain(
      "assumed: CR0 0x80010011, CR4 0x6b0 (note of CPU 0); EFER 0xd01 (no note has it: NXE",
    );
    expect(output).toContain("-> physical 0x123123");
  });

  test("a CPU that was not in long mode has no tables of this kind", async () => {
    const halted = await runHere(["walk", CORE, "400123", "--vcpu", "1"]);
    expect(halted).toMatchObject({ status: 2, output: "" });
    expect(halted.errors).toMatch(/CPU 1 was not in long mode: CR0 0x11; give --cr3 X, or --vcpu N$/m);
    expect((await runHere(["walk", CORE, "0", "--vcpu", "2"])).errors).toContain("there are CPUs 0 to 1");
    const root = await runHere(["walk", CORE, "400123", "--vcpu", "1", "--cr3", "100000"]);
    expect(root.output).toContain("-> physical 0x123123");
  });
});

describe.skipIf(!hasQemu())("QEMU itself, which is installed here", () => {
  test("a live machine: its core and its kdump, by the notes, are what info tlb and info mem say", async () => {
    const file = (name: string): string => join(directory.path, name);
    const printed = await runQemu(directory.path, [
      "info tlb",
      "info mem",
      `dump-guest-memory ${file("core.elf")}`,
      `dump-guest-memory -z ${file("core.kdump")}`,
    ]);
    const lines = (pattern: RegExp): string => `${(printed.match(pattern) ?? []).join("\n")}\n`;
    for (const name of ["core.elf", "core.kdump"]) {
      const tlb = await runHere(["dump", file(name), "--as", "qemu-tlb"]);
      expect(tlb.output).toBe(lines(/^[0-9a-f]{16}: [0-9a-f]{16} [XGPDACTUW-]{9}$/gm));
      const mem = await runHere(["dump", file(name), "--as", "qemu-mem"]);
      expect(mem.output).toBe(lines(/^[0-9a-f]{16}-[0-9a-f]{16} [0-9a-f]{16} [u-]r[w-]$/gm));
      expect(tlb.output.split("\n")).toHaveLength(11);
    }
  }, 120_000);
});
