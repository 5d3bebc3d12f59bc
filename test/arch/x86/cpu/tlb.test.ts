import { describe, expect, it } from "vitest";
import { ACCESS_READ, ACCESS_WRITE, createTlb, type TlbPolicy } from "../../../../src/package/cpu.ts";
import { Fixture, PAGE_A, PAGE_B, PDE, PDPTE, PTE, ROOT, T } from "./fixture.ts";

/** Which page a read of T reaches: "A", "B", or the fault. */
function readAt(f: Fixture, address: number = T): string {
  const physical = f.cpu.translate(ACCESS_READ, address | 0, Math.floor(address / 2 ** 32));
  if (physical < 0) return `fault 0x${f.cpu.fault?.errorCode.toString(16)}`;
  return physical >= PAGE_B ? "B" : "A";
}

function writeAt(f: Fixture): string {
  const physical = f.cpu.translate(ACCESS_WRITE, T | 0, T / 2 ** 32);
  if (physical < 0) return `fault 0x${f.cpu.fault?.errorCode.toString(16)}`;
  return physical >= PAGE_B ? "B" : "A";
}

describe("a stale TLB", () => {
  it("serves reads from an entry that memory no longer has, until INVLPG", () => {
    const f = new Fixture();
    expect(readAt(f)).toBe("A");
    f.set(PTE, 0n);
    expect(readAt(f)).toBe("A");
    expect(f.cpu.tlbHit).toBe(true);
    f.cpu.invlpg(T);
    expect(readAt(f)).toBe("fault 0x0");
  });

  it("re-walks a store through an entry with D=0", () => {
    const cleared = new Fixture();
    readAt(cleared);
    cleared.set(PTE, 0n);
    expect(writeAt(cleared)).toBe("fault 0x2");
    expect(cleared.get(PTE)).toBe(0n);

    const readOnly = new Fixture();
    readAt(readOnly);
    readOnly.set(PTE, 0x11_0025n);
    expect(writeAt(readOnly)).toBe("fault 0x3");
    expect(readOnly.get(PTE)).toBe(0x11_0025n);

    const remapped = new Fixture();
    readAt(remapped);
    remapped.set(PTE, 0x11_1027n);
    expect([readAt(remapped), writeAt(remapped), readAt(remapped)]).toEqual(["A", "B", "B"]);
    expect(remapped.get(PTE)).toBe(0x11_1067n);
  });

  it.each([
    ["2 MiB", 0x20_0087n, false],
    ["2 MiB and global", 0x20_0187n, true],
  ])("a store through a clean entry replaces that one only: one of %s stays", (_name, large, global) => {
    const f = new Fixture();
    readAt(f);
    f.set(PDE, large);
    readAt(f, T + 0x1000);
    f.set(PDE, 0x10_2007n);
    expect(writeAt(f)).toBe("A");
    const kept = f.cpu.tlb.entries().map(({ level, global: g, dirty }) => ({ level, global: g, dirty }));
    expect(kept.sort((a, b) => a.level - b.level)).toEqual([
      { level: 1, global: false, dirty: true },
      { level: 2, global, dirty: false },
    ]);
    expect(f.cpu.translate(ACCESS_READ, (T + 0x1000) | 0, T / 2 ** 32)).toBe(0x24_1000);
  });

  it("a store through a clean entry whose page is of another size now leaves nothing of the old one", () => {
    const f = new Fixture();
    readAt(f);
    f.set(PDE, 0x20_0087n);
    expect(f.cpu.translate(ACCESS_WRITE, T | 0, T / 2 ** 32)).toBe(0x24_0000);
    expect(f.cpu.tlb.entries()).toMatchObject([{ level: 2, dirty: true }]);
  });

  it("a store through a clean entry that faults drops the page's entries of every size", () => {
    const f = new Fixture();
    readAt(f);
    f.set(PDE, 0x20_0087n);
    readAt(f, T + 0x1000);
    f.set(PDE, 0x10_2007n).set(PTE, 0n);
    expect(writeAt(f)).toBe("fault 0x2");
    expect(f.cpu.tlb.entries()).toEqual([]);
  });

  it("stores through an entry with D=1 without looking at memory", () => {
    const f = new Fixture();
    writeAt(f);
    f.set(PTE, 0n);
    expect(writeAt(f)).toBe("A");
    expect(f.get(PTE)).toBe(0n);
    f.set(PTE, 0x11_0027n);
    expect(writeAt(f)).toBe("A");
    expect(f.get(PTE)).toBe(0x11_0027n);
    f.cpu.invlpg(T);
    writeAt(f);
    expect(f.get(PTE)).toBe(0x11_0067n);
  });

  it("never caches what is not present, and may deny a store once where R/W has been set", () => {
    const f = new Fixture().set(PTE, 0x11_0006n);
    expect(readAt(f)).toBe("fault 0x0");
    f.set(PTE, 0x11_0005n);
    expect(readAt(f)).toBe("A");
    f.set(PTE, 0x11_0027n);
    expect(writeAt(f)).toBe("fault 0x3");
    expect(writeAt(f)).toBe("A");
  });

  it("raises one spurious fault from cached rights, and none after it", () => {
    const f = new Fixture().set(PTE, 0x11_0003n);
    readAt(f);
    f.set(PTE, 0x11_0027n);
    f.cpu.cpl = 3;
    expect(readAt(f)).toBe("fault 0x5");
    expect(f.cpu.fault).toMatchObject({ cached: true, reason: "supervisor-page", entryAddress: PTE });
    expect(readAt(f)).toBe("A");
  });

  it("applies WP, AC and keys at each use", () => {
    const f = new Fixture().set(PTE, 0x11_0005n);
    f.cpu.setControl({ wp: false });
    expect(writeAt(f)).toBe("A");
    f.cpu.setControl({ wp: true });
    expect(writeAt(f)).toBe("fault 0x3");

    const smap = new Fixture();
    smap.cpu.setControl({ smap: true });
    smap.cpu.ac = true;
    expect(readAt(smap)).toBe("A");
    smap.cpu.ac = false;
    expect(readAt(smap)).toBe("fault 0x1");

    const key = new Fixture().set(PTE, 0x0800_0000_0011_0007n);
    key.cpu.setControl({ pke: true });
    key.cpu.cpl = 3;
    expect(readAt(key)).toBe("A");
    key.cpu.setControl({ pkru: 4 });
    expect(readAt(key)).toBe("fault 0x25");
  });
});

describe("what flushes drop", () => {
  it("a CR3 load drops non-global translations only; INVLPG and a PGE change drop global ones too", () => {
    const f = new Fixture().set(PTE, 0x11_0107n);
    readAt(f);
    f.set(PTE, 0x11_1107n);
    f.cpu.loadCr3(ROOT);
    expect(readAt(f)).toBe("A");
    f.cpu.invlpg(T);
    expect(readAt(f)).toBe("B");

    f.set(PTE, 0x11_0107n);
    f.cpu.setControl({ pge: false });
    expect(readAt(f)).toBe("A");
    f.set(PTE, 0x11_1107n);
    f.cpu.loadCr3(ROOT);
    expect(readAt(f)).toBe("B");
  });

  it("PCIDs keep translations apart, and bit 63 keeps them across a switch", () => {
    const f = new Fixture();
    expect(f.cpu.setControl({ pcide: true })).toEqual({ ok: true });
    f.cpu.loadCr3(ROOT, 1);
    expect(readAt(f)).toBe("A");
    f.set(PTE, 0x11_1007n);
    f.cpu.loadCr3(ROOT, 2, true);
    expect(readAt(f)).toBe("B");
    f.cpu.loadCr3(ROOT, 1, true);
    expect(readAt(f)).toBe("A");
    f.cpu.loadCr3(ROOT, 1);
    expect(readAt(f)).toBe("B");
  });

  it("INVLPG leaves other pages and other PCIDs", () => {
    const f = new Fixture().set(PTE + 8, 0x11_0007n);
    f.cpu.setControl({ pcide: true });
    for (const pcid of [1, 2]) {
      f.cpu.loadCr3(ROOT, pcid);
      readAt(f);
      readAt(f, T + 4096);
    }
    expect(f.cpu.tlb.entries()).toHaveLength(4);
    f.cpu.invlpg(T + 0xabc);
    const left = f.cpu.tlb.entries().map(({ page, pcid }) => [page - T, pcid]);
    expect(left.sort()).toEqual([
      [0, 1],
      [4096, 1],
      [4096, 2],
    ]);
  });

  it("setting SMEP drops the current PCID; a non-canonical INVLPG does nothing", () => {
    const f = new Fixture();
    readAt(f);
    f.cpu.invlpg(0x8000_0000_0000_0000n);
    expect(f.cpu.tlb.entries()).toHaveLength(1);
    f.cpu.setControl({ smep: true });
    expect(f.cpu.tlb.entries()).toHaveLength(0);
  });

  it("setting SMEP drops what the current PCID filled, global or not, and nothing of the others", () => {
    const f = new Fixture();
    f.set(PTE, 0x11_0107n)
      .set(PTE + 8, 0x11_0107n)
      .set(PTE + 16, 0x11_0007n);
    f.cpu.setControl({ pcide: true });
    f.cpu.loadCr3(ROOT, 1);
    readAt(f);
    readAt(f, T + 0x2000);
    f.cpu.loadCr3(ROOT, 2);
    readAt(f, T + 0x1000);
    readAt(f, T + 0x2000);
    expect(f.cpu.tlb.entries()).toHaveLength(4);
    f.cpu.setControl({ smep: true });
    const left = f.cpu.tlb.entries().map(({ page, pcid, global }) => [page - T, pcid, global]);
    expect(left.sort()).toEqual([
      [0, 1, true],
      [0x2000, 1, false],
    ]);
  });

  it("one INVLPG anywhere in a large page drops it", () => {
    for (const [address, entry, level] of [
      [PDE, 0x20_0087n, 2],
      [PDPTE, 0x87n, 3],
    ] as const) {
      const f = new Fixture().set(address, entry);
      const physical = f.cpu.translate(ACCESS_READ, (T + 0x1_2345) | 0, T / 2 ** 32);
      expect(physical).toBe(level === 2 ? 0x20_0000 + 0x5_2345 : 0x5_2345);
      expect(f.cpu.tlb.entries()).toMatchObject([{ level, pcid: 0, global: false, dirty: false }]);
      f.set(address, 0n);
      expect(f.cpu.translate(ACCESS_READ, (T + 0x2_2345) | 0, T / 2 ** 32)).toBe(physical + 0x1_0000);
      f.cpu.invlpg(T - 0x4_0000);
      expect(f.cpu.tlb.entries()).toEqual([]);
    }
  });

  it("nothing touches another CPU's TLB", () => {
    const f = new Fixture({ cpus: 2 });
    const other = f.machine.cpu(1);
    other.loadCr3(ROOT);
    other.load(T);
    readAt(f);
    f.cpu.invlpg(T);
    expect([f.cpu.tlb.entries().length, other.tlb.entries().length]).toEqual([0, 1]);
  });
});

describe("policies", () => {
  it("`none` always walks", () => {
    const f = new Fixture({ tlb: "none" });
    expect(readAt(f)).toBe("A");
    f.set(PTE, 0x11_1007n);
    expect(readAt(f)).toBe("B");
    expect(f.cpu.tlb.entries()).toEqual([]);
  });

  it("an unknown one is refused", () => {
    expect(() => createTlb("lru" as TlbPolicy)).toThrow('unknown TLB policy "lru": known are stale, none');
  });

  it("`stale` holds any number of pages through growth, flushes and refills", () => {
    const f = new Fixture();
    f.cpu.setControl({ pcide: true });
    const base = T - (T % 2 ** 21);
    const pages = 512;
    for (let i = 0; i < pages; i++) f.set(0x10_2000 + 8 * i, (BigInt(i) << 12n) | 7n);
    for (let round = 0; round < 3; round++) {
      for (let pcid = 0; pcid < 16; pcid++) {
        f.cpu.loadCr3(ROOT, pcid);
        for (let i = 0; i < pages; i++) f.cpu.touch(base + i * 4096, false);
      }
      expect(f.cpu.tlb.entries()).toHaveLength(16 * pages);
    }
    f.set(PDE, 0n);
    for (let pcid = 0; pcid < 16; pcid++) {
      f.cpu.loadCr3(ROOT, pcid, true);
      for (let i = 0; i < pages; i += 2) f.cpu.invlpg(base + i * 4096);
      for (let i = 1; i < pages; i += 2) {
        expect(f.cpu.translate(ACCESS_READ, (base + i * 4096) | 0, base / 2 ** 32)).toBe(i * 4096);
      }
    }
    expect(f.cpu.tlb.entries()).toHaveLength(8 * pages);
    f.cpu.tlb.flushAll();
    expect(f.cpu.tlb.entries()).toEqual([]);
  });

  it("keeps frames above 2 GiB exact", () => {
    const f = new Fixture().set(PTE, 0x9a_8000_1007n | 1n);
    expect(f.cpu.translate(ACCESS_READ, (T + 5) | 0, T / 2 ** 32)).toBe(0x9a_8000_1005);
    expect(f.cpu.translate(ACCESS_READ, (T + 6) | 0, T / 2 ** 32)).toBe(0x9a_8000_1006);
    expect(f.cpu.tlbHit).toBe(true);
    expect(f.cpu.tlb.entries()[0]?.pfn).toBe(0x9a_8000_1);
    expect(PAGE_A).toBe(0x11_0000);
  });
});
