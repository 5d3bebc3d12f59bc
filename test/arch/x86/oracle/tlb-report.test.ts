import { describe, expect, it } from "vitest";
import { describeTlb, explainTlb } from "../../../../src/package/cpu.ts";
import { Fixture, PDE, PTE, ROOT, T } from "../cpu/fixture.ts";

/** The part of each line after the entry itself. */
function reasons(f: Fixture): string[] {
  return explainTlb(f.cpu).map(({ state, why }) => `${state}: ${why}`);
}

describe("a TLB explained entry by entry", () => {
  it("one line an entry: tag, size, frame, rights, where it is held, what memory says now", () => {
    const f = new Fixture({ tlb: "amd-zen4" }).set(PTE + 8, 0x8800_0000_0011_2105n);
    f.cpu.load(T);
    f.cpu.load(T + 0x1000);
    f.set(PTE, 0n);
    expect(describeTlb(f.cpu)).toEqual([
      "0x8000040000 4 KiB PCID 0 -> frame 0x110 rwx user D=0 [L1 data 4K+2M+1G]: memory has P=0 in the PTE 0x0000000000000000 at 0x102200",
      "0x8000040000 4 KiB PCID 0 -> frame 0x110 rwx user D=0 [L2 data 4K]: memory has P=0 in the PTE 0x0000000000000000 at 0x102200",
      "0x8000041000 4 KiB global (filled under PCID 0) -> frame 0x112 r-- user key 1 D=0 [L1 data 4K+2M+1G]: as memory has it",
      "0x8000041000 4 KiB global (filled under PCID 0) -> frame 0x112 r-- user key 1 D=0 [L2 data 4K]: as memory has it",
    ]);
  });

  it("names what differs", () => {
    const f = new Fixture();
    f.cpu.store(T, 1);
    expect(reasons(f)).toEqual(["same: as memory has it"]);
    f.set(PTE, 0x11_1121n);
    expect(reasons(f)).toEqual([
      "different: memory now has frame 0x111, r-x supervisor, D=0, G=1 (PTE 0x0000000000111121 at 0x102200)",
    ]);
    f.set(PTE, 0x0008_0000_0011_0067n);
    expect(reasons(f)).toEqual(["gone: memory has a reserved bit in the PTE 0x0008000000110067 at 0x102200"]);
  });

  it("tells a change of size, but takes a piece of a large page for that page", () => {
    const f = new Fixture().set(PDE, 0x20_0087n);
    f.cpu.load(T);
    f.set(PDE, 0x10_2027n).set(0x10_2000, 0x20_0007n);
    expect(reasons(f)[0]).toContain("different: memory now has pages of 4 KiB");
    const pieces = new Fixture({ fractureLargePages: true }).set(PDE, 0x20_0087n);
    pieces.cpu.load(T);
    expect(explainTlb(pieces.cpu)).toMatchObject([{ state: "same", entry: { level: 1, pfn: 0x240 } }]);
  });

  it("does not judge what belongs to another PCID", () => {
    const f = new Fixture();
    f.cpu.setControl({ pcide: true });
    f.cpu.loadCr3(ROOT, 1);
    f.cpu.load(T);
    f.cpu.loadCr3(ROOT, 2);
    expect(reasons(f)).toEqual(["unknown: PCID 2 is current, and the root of PCID 1 not known"]);
  });
});
