import { describe, expect, it } from "vitest";
import { xorshift32 } from "../../../../arch/x86/cpu/xorshift32.ts";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  cpuModel,
  HARDWARE_WALK,
  INSPECT,
  MODE_SUPERVISOR,
  MODE_USER,
  RIGHT_SHADOW_STACK,
  RIGHT_U,
  RIGHT_W,
  WALK_DENIED,
  WALK_NOT_PRESENT,
  WALK_OK,
  WALK_RESERVED,
  WalkResult,
  walk,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PAGE_A, PDE, PDPTE, PML4E, PTE, ROOT, T } from "./fixture.ts";

type Step = ["read" | "write" | "fetch", "user" | "sup"];

describe("what an access does to the tables", () => {
  it("a read sets A everywhere and D nowhere; a write sets D in the leaf only", () => {
    const f = new Fixture();
    expect(f.access("read")).toBe("ok");
    expect(f.accessed()).toBe("1111");
    expect(f.get(PTE)).toBe(0x11_0027n);
    expect(f.access("write")).toBe("ok");
    expect([f.get(PDE), f.get(PTE)]).toEqual([0x10_2027n, 0x11_0067n]);
  });

  it("sets A and D in large leaves", () => {
    const f = new Fixture().set(PDE, 0x20_0087n);
    expect(f.access("write")).toBe("ok");
    expect(f.get(PDE)).toBe(0x20_00e7n);
    f.set(PDPTE, 0x87n).cpu.invlpg(T);
    expect(f.access("read")).toBe("ok");
    expect(f.get(PDPTE)).toBe(0xa7n);
  });

  it("with WP=0 a supervisor write sets D in a read-only entry", () => {
    const f = new Fixture().set(PTE, 0x11_0005n);
    f.cpu.setControl({ wp: false });
    expect(f.access("write")).toBe("ok");
    expect(f.get(PTE)).toBe(0x11_0065n);
  });

  it("leaves the faulting entry alone; the tables above get A or not as the model says", () => {
    for (const [upperAOnFault, expected] of [
      ["set", "1110"],
      ["clear", "0000"],
    ] as const) {
      const f = new Fixture({ model: { ...MODEL, upperAOnFault } }).set(PTE, 0x11_0006n);
      expect(f.access("read", "sup", T + 0x123)).toBe("#PF 0x00");
      expect(f.cpu.fault?.address).toBe(BigInt(T + 0x123));
      expect(f.accessed()).toBe(expected);
      f.set(PTE, 0x11_0003n);
      expect(f.access("read", "user")).toBe("#PF 0x05");
      expect(f.get(PTE)).toBe(0x11_0003n);
    }
  });

  it.each(["set", "clear"] as const)(
    "QEMU sets A in a 1-GiB leaf that stops the access; silicon does not (upper A: %s)",
    (upperAOnFault) => {
      const cases: [string, bigint, string, boolean][] = [
        ["rights", 0x83n, "#PF 0x05", true],
        ["bit 13", 0x2087n, "#PF 0x0d", true],
        ["bit 29", 0x2000_0087n, "#PF 0x0d", true],
        ["bit 40", 0x100_0000_0087n, "#PF 0x0d", false],
        ["bits 13 and 40", 0x100_0000_2087n, "#PF 0x0d", false],
        ["P=0", 0x2086n, "#PF 0x04", false],
      ];
      for (const leaf1GAOnFault of [false, true]) {
        for (const [what, leaf, fault, emulated] of cases) {
          const f = new Fixture({ model: { ...MODEL, upperAOnFault, leaf1GAOnFault } }).set(PDPTE, leaf);
          const got = [what, f.access("read", "user"), f.get(PDPTE), f.get(PML4E) & 0x20n];
          const upper = upperAOnFault === "set" ? 0x20n : 0n;
          expect(got).toEqual([what, fault, leaf | (leaf1GAOnFault && emulated ? 0x20n : 0n), upper]);
        }
      }
    },
  );

  it("an entry that maps its own table gets A by being used, once as every level", () => {
    const address = (3n << 39n) | (3n << 30n) | (3n << 21n) | (3n << 12n);
    const entry = ROOT + 3 * 8;
    const f = new Fixture().set(entry, 0x7_0003n);
    expect(f.access("read", "sup", address)).toBe("ok");
    expect(f.get(entry)).toBe(0x7_0023n);
    expect(f.access("write", "sup", address + 0x800n)).toBe("ok");
    expect(f.get(entry)).toBe(0x7_0063n);
  });
});

describe("which fault wins", () => {
  const NX = 1n << 63n;
  const cases: [string, Record<number, bigint>, Step, string][] = [
    ["leaf not present", { [PTE]: 0x11_0006n }, ["read", "sup"], "#PF 0x00"],
    ["PDPTE not present", { [PDPTE]: 0x10_1006n }, ["write", "sup"], "#PF 0x02"],
    ["PML4E not present", { [PML4E]: 0x10_0006n }, ["write", "sup"], "#PF 0x02"],
    ["P=0 below U=0: not present", { [PML4E]: 0x10_0003n, [PTE]: 0x11_0006n }, ["read", "user"], "#PF 0x04"],
    ["reserved above P=0", { [PDE]: 0x100_0010_2007n, [PTE]: 0x11_0006n }, ["read", "user"], "#PF 0x0d"],
    ["reserved bits of a P=0 leaf", { [PTE]: 0x8_0000_0011_0006n }, ["read", "sup"], "#PF 0x00"],
    ["XD above a P=0 leaf", { [PDE]: NX | 0x10_2007n, [PTE]: 0x11_0006n }, ["fetch", "user"], "#PF 0x14"],
    ["reserved beats rights", { [PDE]: 0x30_0087n }, ["write", "user"], "#PF 0x0f"],
    ["U=0 at the top", { [PML4E]: 0x10_0003n }, ["read", "user"], "#PF 0x05"],
    ["R/W=0 at the top", { [PML4E]: 0x10_0005n }, ["write", "user"], "#PF 0x07"],
    ["R/W=0 for the supervisor", { [PTE]: 0x11_0005n }, ["write", "sup"], "#PF 0x03"],
    ["XD in the leaf", { [PTE]: NX | 0x11_0007n }, ["fetch", "user"], "#PF 0x15"],
    ["XD above the leaf", { [PDE]: NX | 0x10_2007n }, ["fetch", "sup"], "#PF 0x11"],
    ["PS in a PML4E", { [PML4E]: 0x10_0087n }, ["read", "sup"], "#PF 0x09"],
    ["bit 8 in a PML4E", { [PML4E]: 0x10_0107n }, ["read", "sup"], "ok"],
    ["bit 8 in a PDPTE", { [PDPTE]: 0x10_1107n }, ["read", "sup"], "ok"],
    ["bit 6 in tables", { [PDE]: 0x10_2047n, [PDPTE]: 0x10_1047n }, ["read", "sup"], "ok"],
    ["bit 13 of a 2-MiB leaf", { [PDE]: 0x20_2087n }, ["read", "sup"], "#PF 0x09"],
    ["bit 12 of a 2-MiB leaf is PAT", { [PDE]: 0x20_1087n }, ["read", "sup"], "ok"],
    ["bit 13 of a 1-GiB leaf", { [PDPTE]: 0x2087n }, ["read", "sup"], "#PF 0x09"],
    ["bit 29 of a 1-GiB leaf", { [PDPTE]: 0x2000_0087n }, ["read", "sup"], "#PF 0x09"],
    ["bit 12 of a 1-GiB leaf is PAT", { [PDPTE]: 0x1087n }, ["read", "sup"], "ok"],
    ["bit 51 of a PTE", { [PTE]: 0x8_0000_0011_0007n }, ["read", "sup"], "#PF 0x09"],
    ["bits 58:52 are free", { [PTE]: 0x07f0_0000_0011_0007n }, ["read", "sup"], "ok"],
  ];

  it.each(cases)("%s", (_name, entries, [kind, who], expected) => {
    const f = new Fixture();
    for (const [address, value] of Object.entries(entries)) f.set(Number(address), value);
    expect(f.access(kind, who)).toBe(expected);
  });

  it("AMD reserves bit 8 of a PML4E", () => {
    const f = new Fixture({ model: { ...MODEL, vendor: "amd" } }).set(PML4E, 0x10_0107n);
    expect(f.access("read")).toBe("#PF 0x09");
  });

  it("a CPU without 1-GiB pages reserves PS of a PDPTE", () => {
    const f = new Fixture({ model: { ...MODEL, gbPages: false } }).set(PDPTE, 0x87n);
    expect(f.access("read")).toBe("#PF 0x09");
  });

  it("QEMU reports reserved bits without P", () => {
    const f = new Fixture({ model: "qemu-7.2" }).set(PML4E, 0x10_0087n);
    expect(f.access("read")).toBe("#PF 0x08");
  });

  it("without NXE bit 63 is reserved, and I/D appears only under SMEP", () => {
    const f = new Fixture();
    f.cpu.setControl({ nxe: false });
    f.set(PTE, NX | 0x11_0007n);
    expect(f.access("read")).toBe("#PF 0x09");
    expect(f.access("fetch", "user")).toBe("#PF 0x0d");
    f.set(PTE, 0x11_0006n);
    expect(f.access("fetch", "user")).toBe("#PF 0x04");
    f.cpu.setControl({ smep: true });
    expect(f.access("fetch", "user")).toBe("#PF 0x14");
  });

  it("the fault names the entry that stopped the walk", () => {
    const f = new Fixture().set(PTE, 0x11_0005n);
    f.access("write", "user", T + 0x10);
    const fault = f.cpu.fault;
    expect(fault).toMatchObject({ level: 1, entryAddress: PTE, reason: "read-only", cached: false });
    expect(fault?.describe()).toBe(
      "#PF 0x07 at 0x8000040010: user write, the page is read-only (PTE 0x0000000000110005 at 0x102200)",
    );
  });
});

describe("the walk as a function", () => {
  it("an inspector changes nothing and records the path", () => {
    const f = new Fixture();
    const { memory } = f.machine;
    const before = memory.bytesAt(0, memory.size).slice();
    const result = new WalkResult();
    const hi = Math.floor(T / 2 ** 32);
    const at = (T + 0x123) | 0;
    expect(walk(f.machine.memory, f.cpu.control, at, hi, ACCESS_WRITE, MODE_USER, INSPECT, result)).toBe(
      WALK_OK,
    );
    expect(result.physical).toBe(PAGE_A + 0x123);
    expect(result).toMatchObject({ level: 1, pfn: PAGE_A / 4096, rights: RIGHT_W | RIGHT_U, dirty: false });
    expect(result.path.map((step) => [step.level, step.kind, step.address, step.entry.toBigInt()])).toEqual([
      [4, "pml4e", PML4E, 0x10_0007n],
      [3, "pdpte-table", PDPTE, 0x10_1007n],
      [2, "pde-table", PDE, 0x10_2007n],
      [1, "pte", PTE, 0x11_0007n],
    ]);
    expect(Buffer.compare(memory.bytesAt(0, memory.size), before)).toBe(0);
  });

  it("knows a shadow-stack page: R/W above the leaf, a read-only dirty leaf", () => {
    const rightsWith = (entries: Record<number, bigint>): number => {
      const f = new Fixture();
      for (const [address, value] of Object.entries(entries)) f.set(Number(address), value);
      const result = new WalkResult();
      walk(f.machine.memory, f.cpu.control, T | 0, 0x80, ACCESS_READ, MODE_USER, INSPECT, result);
      return result.rights & RIGHT_SHADOW_STACK;
    };
    expect(rightsWith({ [PTE]: 0x11_0045n })).toBe(RIGHT_SHADOW_STACK);
    expect(rightsWith({ [PTE]: 0x11_0005n })).toBe(0);
    expect(rightsWith({ [PTE]: 0x11_0047n })).toBe(0);
    expect(rightsWith({ [PTE]: 0x11_0045n, [PDE]: 0x10_2005n })).toBe(0);
  });

  it("a store to a read-only page with WP=0 makes it a shadow-stack page, and the walk says so", () => {
    const f = new Fixture().set(PTE, 0x11_0005n);
    f.cpu.setControl({ wp: false });
    const result = new WalkResult();
    const at = [T | 0, 0x80, ACCESS_WRITE, MODE_SUPERVISOR] as const;
    expect(walk(f.machine.memory, f.cpu.control, ...at, HARDWARE_WALK, result)).toBe(WALK_OK);
    expect(f.get(PTE)).toBe(0x11_0065n);
    const afterStore = result.rights;
    walk(f.machine.memory, f.cpu.control, ...at, INSPECT, result);
    expect([afterStore, result.rights & RIGHT_SHADOW_STACK]).toEqual([result.rights, RIGHT_SHADOW_STACK]);
  });

  it("starts again from the top when an entry changes between its read and its update", () => {
    const f = new Fixture();
    const result = new WalkResult();
    let calls = 0;
    const beforeUpdate = (): void => {
      calls++;
      // Only the high word changes: a 32-bit compare would miss it.
      if (calls === 1) f.set(PTE, 0x8000_0000_0011_0007n);
      if (calls === 2) f.set(PTE, 0x11_1007n);
    };
    const options = { ...HARDWARE_WALK, beforeUpdate };
    walk(f.machine.memory, f.cpu.control, T | 0, 0x80, ACCESS_WRITE, MODE_SUPERVISOR, options, result);
    expect(calls).toBe(3);
    expect(result.physical).toBe(0x11_1000);
    expect(f.get(PTE)).toBe(0x11_1067n);
  });

  it("starts again when a table entry changes: the A bit goes to the new path only", () => {
    const f = new Fixture();
    let calls = 0;
    const beforeUpdate = (): void => {
      calls++;
      if (calls === 1) f.set(PDE, 0x10_3007n).set(0x10_3000 + 0x40 * 8, 0x11_1007n);
    };
    f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate };
    expect(f.cpu.load(T)).toMatchObject({ ok: true, physical: 0x11_1000 });
    expect([f.get(PDE), f.get(PTE), f.get(0x10_3000 + 0x40 * 8)]).toEqual([
      0x10_3027n,
      0x11_0007n,
      0x11_1027n,
    ]);
  });

  it("never revives an entry that was cleared under it", () => {
    const f = new Fixture();
    f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate: () => f.set(PTE, 0n) };
    expect(f.access("write")).toBe("#PF 0x02");
    expect(f.get(PTE)).toBe(0n);
    expect(f.get(PAGE_A)).toBe(0n);
  });

  it("stays bounded where tables point outside memory: all ones are read there", () => {
    for (const maxPhyAddr of [40, 52]) {
      const f = new Fixture({ model: { ...MODEL, maxPhyAddr } }).set(PML4E, 0xff_ffff_f007n);
      expect(f.access("read")).toMatch(maxPhyAddr === 52 ? /^(ok|#PF)/ : /^#PF 0x09$/);
      f.set(PML4E, 0x10_0007n).set(PDE, 0x12_3400_0007n);
      const result = new WalkResult();
      const code = walk(
        f.machine.memory,
        f.cpu.control,
        T | 0,
        0x80,
        ACCESS_READ,
        MODE_USER,
        INSPECT,
        result,
      );
      expect(code).toBe(maxPhyAddr === 52 ? WALK_OK : WALK_RESERVED);
      expect(result.entryAddress).toBe(0x12_3400_0000 + 0x40 * 8);
    }
  });

  it("walks five levels, and U=0 of a PML5E counts", () => {
    const f = new Fixture({ levels: 5 }).set(0x6_0000, 0x7_0007n);
    f.cpu.loadCr3(0x6_0000);
    expect(f.access("read", "user")).toBe("ok");
    expect(f.get(0x6_0000)).toBe(0x7_0027n);
    expect(f.access("read", "sup", 0x0000_8000_0000_0000)).toBe("#PF 0x00");
    f.set(0x6_0000 + 0x1ff * 8, 0x7_0003n);
    const high = 0xffff_0080_0004_0000n;
    expect(f.access("read", "user", high)).toBe("#PF 0x05");
    expect(f.access("read", "sup", high)).toBe("ok");
  });

  it("agrees with a bigint walk written from the manual on random tables (seed 7)", () => {
    const seed = 7;
    const random = xorshift32(seed);
    const f = new Fixture({ memory: "64KiB", model: { ...cpuModel("intel-skylake-sp"), maxPhyAddr: 40 } });
    const result = new WalkResult();
    const codes = new Set<number>();
    for (let round = 0; round < 20_000; round++) {
      for (let i = 0; i < 4; i++) {
        // A small memory of tables full of pointers into itself, often present, seldom with odd bits.
        const odd = random() % 8 === 0 ? BigInt(random() % 32) << BigInt(random() % 59) : 0n;
        const value =
          (BigInt(random() % 16) << 12n) | BigInt(random() % 64) | odd | (random() % 8 > 0 ? 1n : 0n);
        f.set((random() % 16) * 4096 + (random() % 8) * 8, value);
      }
      const index = (): bigint => BigInt(random() % 8);
      const address =
        (index() << 39n) | (index() << 30n) | (index() << 21n) | (index() << 12n) | BigInt(random() % 4096);
      f.cpu.control.setRoot((random() % 16) * 4096, 0);
      const expected = referenceWalk(f, address, f.cpu.root);
      const lo = Number(BigInt.asIntN(32, address));
      const hi = Number(address >> 32n);
      const code = walk(f.machine.memory, f.cpu.control, lo, hi, ACCESS_WRITE, MODE_USER, INSPECT, result);
      const where = code === WALK_OK ? result.physical : -1;
      expect([round, code, result.level, result.entryAddress, where]).toEqual([round, ...expected]);
      codes.add(code);
    }
    expect([...codes].sort()).toEqual([WALK_OK, WALK_NOT_PRESENT, WALK_RESERVED, WALK_DENIED]);
  });
});

/** Code, level, entry address and physical address (or -1) of a user write. */
function referenceWalk(f: Fixture, address: bigint, root: number): [number, number, number, number] {
  let table = BigInt(root);
  let writable = true;
  for (let level = 4; ; level--) {
    const shift = BigInt(12 + 9 * (level - 1));
    const at = table + ((address >> shift) & 0x1ffn) * 8n;
    const entry = at < BigInt(f.machine.memory.size) ? f.get(Number(at)) : (1n << 64n) - 1n;
    const stop = (code: number): [number, number, number, number] => [code, level, Number(at), -1];
    if ((entry & 1n) === 0n) return stop(WALK_NOT_PRESENT);
    let reserved = 0x000f_ff00_0000_0000n;
    const large = (entry & 0x80n) !== 0n && level > 1;
    if (large) reserved |= level === 4 ? 0x80n : level === 3 ? 0x3fff_e000n : 0x1f_e000n;
    if ((entry & reserved) !== 0n) return stop(WALK_RESERVED);
    writable &&= (entry & 6n) === 6n;
    if (large || level === 1) {
      if (!writable) return stop(WALK_DENIED);
      const offset = (1n << shift) - 1n;
      return [WALK_OK, level, Number(at), Number((entry & 0xff_ffff_f000n & ~offset) | (address & offset))];
    }
    table = entry & 0xff_ffff_f000n;
  }
}
