import { describe, expect, it } from "vitest";
import {
  type ControlResult,
  type Cpu,
  invpcid,
  MSR_EFER,
  MSR_PAT,
  MSR_PKRS,
  movCr0,
  movCr4,
  rdmsr,
  wrmsr,
  wrpkru,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, ROOT, T } from "./fixture.ts";

const CR0 = 0x8001_0011n;
const CR4 = 0xa0n;
const EFER = 0xd00n;

function bit(n: number): bigint {
  return 1n << BigInt(n);
}

type Row = readonly [what: string, run: (cpu: Cpu) => ControlResult, expect: RegExp | "ok"];

/** Every legal and illegal transition of section 1.1, each from the state after reset but for what `run` does first. */
const ROWS: readonly Row[] = [
  ["CR0 as it is", (cpu) => movCr0(cpu, CR0), "ok"],
  ["WP cleared", (cpu) => movCr0(cpu, CR0 & ~bit(16)), "ok"],
  ["PG cleared in 64-bit code", (cpu) => movCr0(cpu, CR0 & ~bit(31)), /^#GP CR0.PG cleared in 64-bit mode/],
  [
    "PG cleared with PCIDE",
    (cpu) => after(cpu, CR4 | bit(17), () => movCr0(cpu, 0x11n)),
    /^#GP .*PCIDE is 1/,
  ],
  ["PE cleared", (cpu) => movCr0(cpu, CR0 & ~1n), /^#GP CR0.PG set while CR0.PE is 0/],
  ["NW without CD", (cpu) => movCr0(cpu, CR0 | bit(29)), /^#GP CR0.NW/],
  ["NW with CD", (cpu) => movCr0(cpu, CR0 | bit(29) | bit(30)), "ok"],
  ["CR0 bit 32", (cpu) => movCr0(cpu, CR0 | bit(32)), /^#GP CR0\[63:32\]/],
  [
    "WP cleared with CET",
    (cpu) => after(cpu, CR4 | bit(23), () => movCr0(cpu, 0x8000_0011n)),
    /^#GP CR4.CET/,
  ],
  ["CR4 as it is", (cpu) => movCr4(cpu, CR4), "ok"],
  ["PSE, which long mode ignores", (cpu) => movCr4(cpu, CR4 | bit(4)), "ok"],
  ["PAE cleared", (cpu) => movCr4(cpu, CR4 & ~bit(5)), /^#GP CR4.PAE/],
  ["LA57 set", (cpu) => movCr4(cpu, CR4 | bit(12)), /^#GP CR4.LA57 changed/],
  ["LA57 set together with PSE", (cpu) => movCr4(cpu, CR4 | bit(12) | bit(4)), /^#GP CR4.LA57 changed/],
  ["a reserved bit", (cpu) => movCr4(cpu, CR4 | bit(31)), /^#GP CR4 bits 0x80000000/],
  ["bit 63", (cpu) => movCr4(cpu, CR4 | bit(63)), /^#GP CR4 bits/],
  ["SMEP, SMAP, PKE, CET, PKS", (cpu) => movCr4(cpu, CR4 | 0x1f0_0000n), "ok"],
  [
    "LASS without the feature",
    (cpu) => movCr4(cpu, CR4 | bit(27)),
    /^#GP CR4.LASS set, but fixture has no lass/,
  ],
  ["LAM_SUP without the feature", (cpu) => movCr4(cpu, CR4 | bit(28)), /^#GP .*no lam/],
  [
    "CET with WP=0",
    (cpu) => {
      movCr0(cpu, CR0 & ~bit(16));
      return movCr4(cpu, CR4 | bit(23));
    },
    /^#GP CR4.CET set while CR0.WP is 0/,
  ],
  [
    "PCIDE over CR3[11:0] that is not 0: PWT and PCD count",
    (cpu) => {
      cpu.movCr3(BigInt(ROOT) | 0x18n);
      return movCr4(cpu, CR4 | bit(17));
    },
    /^#GP CR4.PCIDE set while CR3\[11:0\] is 0x18/,
  ],
  ["CR3 with PWT and PCD", (cpu) => cpu.movCr3(BigInt(ROOT) | 0x18n), "ok"],
  ["CR3 with a bit from MAXPHYADDR up", (cpu) => cpu.movCr3(bit(40)), /^#GP CR3 bits 0x10000000000 set/],
  ["CR3 bit 60", (cpu) => cpu.movCr3(bit(60)), /^#GP/],
  ["CR3 bit 63 without PCIDE", (cpu) => cpu.movCr3(bit(63)), /^#GP CR3 bits 0x8000000000000000/],
  ["CR3 bit 63 with it", (cpu) => after(cpu, CR4 | bit(17), () => cpu.movCr3(bit(63))), "ok"],
  ["CR3 LAM without the feature", (cpu) => cpu.movCr3(bit(61)), /^#GP/],
  ["EFER as it is", (cpu) => wrmsr(cpu, MSR_EFER, EFER), "ok"],
  ["NXE cleared", (cpu) => wrmsr(cpu, MSR_EFER, EFER & ~bit(11)), "ok"],
  ["LME cleared while PG", (cpu) => wrmsr(cpu, MSR_EFER, EFER & ~bit(8)), /^#GP EFER.LME/],
  ["an EFER bit that nobody has", (cpu) => wrmsr(cpu, MSR_EFER, EFER | bit(9)), /^#GP EFER bits 0x200/],
  ["TCE on Intel", (cpu) => wrmsr(cpu, MSR_EFER, EFER | bit(15)), /^#GP .*no tce/],
  ["PKRS", (cpu) => wrmsr(cpu, MSR_PKRS, 0xffff_ffffn), "ok"],
  ["PKRS bit 32", (cpu) => wrmsr(cpu, MSR_PKRS, bit(32)), /^#GP IA32_PKRS\[63:32\]/],
  ["WRPKRU without PKE", (cpu) => wrpkru(cpu, 4), /^#UD WRPKRU while CR4.PKE is 0/],
  ["WRPKRU", (cpu) => after(cpu, CR4 | bit(22), () => wrpkru(cpu, 4)), "ok"],
  ["WRPKRU with ECX", (cpu) => after(cpu, CR4 | bit(22), () => wrpkru(cpu, 4, 1)), /^#GP WRPKRU with ECX 1/],
  ["LSTAR, 57 bits wide, with four levels", (cpu) => wrmsr(cpu, 0xc000_0082, bit(50)), "ok"],
  ["LSTAR, 58 bits wide", (cpu) => wrmsr(cpu, 0xc000_0082, bit(57)), /^#GP .*not canonical in 57 bits/],
];

/** After a MOV to CR4. */
function after(cpu: Cpu, cr4: bigint, run: () => ControlResult): ControlResult {
  expect(movCr4(cpu, cr4)).toEqual({ ok: true });
  return run();
}

function told(result: ControlResult): string {
  return result.ok ? "ok" : `${result.fault} ${result.why}`;
}

describe("writes of control registers", () => {
  it.each(ROWS)("%s", (_what, run, expected) => {
    const f = new Fixture();
    const text = told(run(f.cpu));
    if (expected === "ok") expect(text).toBe("ok");
    else expect(text).toMatch(expected);
  });

  it("change nothing when they are refused, not even what would be legal alone", () => {
    const { cpu } = new Fixture();
    const { cr0, cr3, cr4, efer } = cpu.control;
    const refused = [
      movCr0(cpu, (CR0 & ~bit(16)) | bit(29)),
      movCr4(cpu, CR4 | bit(20) | bit(27)),
      wrmsr(cpu, MSR_EFER, (EFER & ~bit(11)) | bit(15)),
      cpu.movCr3(bit(60) | 0x5000n),
    ];
    expect(refused.map(({ ok }) => ok)).toEqual([false, false, false, false]);
    expect(cpu.control).toMatchObject({ cr0, cr3, cr4, efer });
  });

  it("are the kernel's: #GP at CPL 3", () => {
    const f = new Fixture();
    f.cpu.cpl = 3;
    f.cpu.load(T);
    const { cpu } = f;
    const before = cpu.tlb.entries();
    for (const result of [
      movCr0(cpu, CR0),
      movCr4(cpu, CR4 & ~bit(7)),
      wrmsr(cpu, MSR_EFER, EFER),
      cpu.movCr2(1n),
      cpu.movCr3(BigInt(ROOT)),
      cpu.invlpg(T),
      invpcid(cpu, 2, 0),
    ]) {
      expect(told(result)).toMatch(/^#GP .* at CPL 3$/);
    }
    expect(rdmsr(cpu, MSR_EFER)).toMatchObject({ ok: false, fault: "#GP" });
    expect(cpu.tlb.entries()).toEqual(before);
    expect(() => wrmsr(new Fixture().cpu, 0x10, 0n)).toThrow("MSR 0x10: this machine has none");
  });

  it("flush what they must: everything for PGE, the PCID for SMEP 0 to 1, nothing for WP, SMAP and keys", () => {
    const survives = (change: (cpu: Cpu) => ControlResult): boolean => {
      const f = new Fixture();
      f.access("read");
      expect(change(f.cpu)).toEqual({ ok: true });
      return f.cpu.tlb.entries().length > 0;
    };
    expect([
      survives((cpu) => movCr4(cpu, CR4 & ~bit(7))),
      survives((cpu) => movCr4(cpu, CR4 | bit(20))),
      survives((cpu) => movCr4(cpu, CR4 | bit(21) | bit(22) | bit(24) | bit(23))),
      survives((cpu) => movCr0(cpu, CR0 & ~bit(16))),
      survives((cpu) => wrmsr(cpu, MSR_PKRS, 4n)),
      survives((cpu) => cpu.movCr3(BigInt(ROOT))),
    ]).toEqual([false, false, true, true, true, false]);
  });

  it("read back what was written: CR0, CR3, CR4, EFER, CR2 and MSRs", () => {
    const { cpu } = new Fixture({ model: "intel-sapphire-rapids" });
    expect(told(movCr0(cpu, 0x8005_0033n))).toBe("ok");
    expect(cpu.control.cr0).toBe(0x8005_0033);
    // Reserved bits of the low half are ignored: 28, 15, 6.
    expect(told(movCr0(cpu, 0x9005_8073n))).toBe("ok");
    expect(cpu.control.cr0).toBe(0x8005_0033);
    cpu.movCr3(BigInt(ROOT));
    for (const value of [0x37_26f0n, 0x37_66f0n | bit(25)]) {
      expect(told(movCr4(cpu, value))).toBe("ok");
      expect(BigInt(cpu.control.cr4)).toBe(value);
    }
    expect(told(wrmsr(cpu, MSR_EFER, 0xd01n))).toBe("ok");
    expect(rdmsr(cpu, MSR_EFER)).toEqual({ ok: true, value: 0xd01n });
    for (const [register, value] of [
      [MSR_PAT, 0x0407_0506_0007_0106n],
      [MSR_PKRS, 0x1234n],
      [0xc000_0082, 0xffff_ffff_8180_0000n],
    ] as const) {
      expect(told(wrmsr(cpu, register, value))).toBe("ok");
      expect(rdmsr(cpu, register)).toEqual({ ok: true, value });
    }
    expect(rdmsr(cpu, 0xc000_0100)).toEqual({ ok: true, value: 0n });
    cpu.movCr2(0x8000_0000_0000_0001n);
    expect(cpu.cr2).toBe(0x8000_0000_0000_0001n);
    // A #GP leaves CR2 alone, a #PF does not.
    cpu.load(1n << 62n);
    expect(cpu.cr2).toBe(0x8000_0000_0000_0001n);
    cpu.load(T + 0x1234);
    expect(cpu.cr2).toBe(BigInt(T + 0x1234));
  });

  it("take the bits that the vendor and the model have, and no others", () => {
    const takes = (model: string, run: (cpu: Cpu) => ControlResult): boolean =>
      run(new Fixture({ model }).cpu).ok;
    const cr4 = (n: number) => (cpu: Cpu) => movCr4(cpu, CR4 | bit(n));
    const efer = (n: number) => (cpu: Cpu) => wrmsr(cpu, MSR_EFER, EFER | bit(n));
    const names = ["intel-skylake-sp", "intel-sapphire-rapids", "amd-zen3", "amd-zen4"] as const;
    const table = [
      ["UMIP", cr4(11), "-xxx"],
      ["VMXE", cr4(13), "xx--"],
      ["SMXE", cr4(14), "xx--"],
      ["reserved", cr4(15), "----"],
      ["FSGSBASE", cr4(16), "xxxx"],
      ["PKS", cr4(24), "-x--"],
      ["UINTR", cr4(25), "-x--"],
      ["FRED", cr4(32), "----"],
      ["SVME", efer(12), "--xx"],
      ["LMSLE", efer(13), "----"],
      ["FFXSR", efer(14), "--xx"],
      ["TCE", efer(15), "--xx"],
      ["reserved", efer(16), "----"],
      ["UAIE", efer(20), "---x"],
      ["AIBRSE", efer(21), "---x"],
      ["bit 1", efer(1), "--xx"],
    ] as const;
    for (const [name, run, expected] of table) {
      const found = names.map((model) => (takes(model, run) ? "x" : "-")).join("");
      expect([name, found]).toEqual([name, expected]);
    }
    const fred = { ...MODEL, registerBits: "UMIP FRED" };
    const { cpu } = new Fixture({ model: fred });
    expect(told(movCr4(cpu, CR4 | bit(32)))).toBe("ok");
    expect(cpu.control.cr4).toBe(2 ** 32 + 0xa0);
    // LMA cannot be written: AMD says so, Intel ignores it.
    const noLma = (model: string): boolean => takes(model, (one) => wrmsr(one, MSR_EFER, EFER & ~bit(10)));
    expect([noLma("intel-skylake-sp"), noLma("amd-zen3")]).toEqual([true, false]);
  });

  it("LA57 belongs to the machine: the same value is legal with five levels", () => {
    const f = new Fixture({ levels: 5 });
    expect(movCr4(f.cpu, CR4 | bit(12))).toEqual({ ok: true });
    expect(told(movCr4(f.cpu, CR4))).toMatch(/^#GP CR4.LA57/);
    expect(f.access("read", "user", T)).toBe("ok");
  });

  it("LAM's bits of CR3 are stored apart from the address", () => {
    const f = new Fixture({ model: { ...MODEL, lam: true } });
    expect(f.cpu.movCr3(bit(62) | BigInt(ROOT))).toEqual({ ok: true });
    expect(f.cpu.control).toMatchObject({ lamU48: true, lamU57: false, root: ROOT, cr3: ROOT });
    expect(f.cpu.control.cr3Value).toBe(bit(62) | BigInt(ROOT));
  });
});
