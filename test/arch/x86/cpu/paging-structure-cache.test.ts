import { describe, expect, it } from "vitest";
import { ACCESS_READ, ACCESS_WRITE, cpuModel } from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PDE, PDPTE, PML4E, PTE, ROOT, T } from "./fixture.ts";

const NEIGHBOUR = T + 0x1000;
const OLD_TABLE = 0x10_2000;
const NEW_TABLE = 0x10_3000;

function at(f: Fixture, address: number, kind: number = ACCESS_READ): string {
  const physical = f.cpu.translate(kind, address | 0, (address / 2 ** 32) | 0);
  return physical < 0 ? `fault 0x${f.cpu.fault?.errorCode.toString(16)}` : `0x${physical.toString(16)}`;
}

/** T was read, so its table entries are cached; T's neighbour is mapped in both page tables, to different frames. */
function warmed(options = {}): Fixture {
  const f = new Fixture({ pagingStructureCaches: true, ...options });
  f.set(OLD_TABLE + 0x41 * 8, 0x11_2007n).set(NEW_TABLE + 0x41 * 8, 0x11_3007n);
  at(f, T);
  return f;
}

describe("paging-structure caches", () => {
  it("lead a walk into a table that memory no longer points to, until INVLPG of any address", () => {
    const f = warmed();
    f.set(PDE, 0x10_3007n);
    expect(at(f, NEIGHBOUR)).toBe("0x112000");
    f.cpu.tlb.flushAll();
    expect(at(f, NEIGHBOUR)).toBe("0x112000");
    f.cpu.invlpg(0x1234_5000);
    f.cpu.tlb.flushAll();
    expect(at(f, NEIGHBOUR)).toBe("0x113000");
  });

  it("are off unless asked for, as in the emulators", () => {
    const f = warmed({ pagingStructureCaches: false });
    f.set(PDE, 0x10_3007n);
    expect(at(f, NEIGHBOUR)).toBe("0x113000");
    expect(f.cpu.tables).toBeNull();
  });

  it.each([
    ["PDE", PDE],
    ["PDPTE", PDPTE],
    ["PML4E", PML4E],
  ])("keep the rights that the %s had", (_name, address) => {
    const f = warmed();
    const now = f.get(address);
    f.set(address, now & ~2n);
    expect(at(f, NEIGHBOUR, ACCESS_WRITE)).toBe("0x112000");
    expect(f.get(OLD_TABLE + 0x41 * 8)).toBe(0x11_2067n);
    f.cpu.loadCr3(ROOT);
    expect(at(f, NEIGHBOUR, ACCESS_WRITE)).toBe("fault 0x3");
    expect(f.get(address)).toBe(now & ~2n);
  });

  it("never hold an entry with P=0, and of a walk that faulted only the tables above", () => {
    const f = new Fixture({ pagingStructureCaches: true }).set(PDE, 0x10_2006n);
    expect(at(f, T)).toBe("fault 0x0");
    // The fault itself drops what leads to the page.
    expect(f.cpu.tables?.entries()).toEqual([]);
    f.set(PDE, 0x10_2007n);
    expect(at(f, T)).toBe("0x110000");
    const kept = f.cpu.tables?.entries().map(({ level, region, pcid }) => ({ level, region, pcid }));
    expect(kept?.sort((a, b) => a.level - b.level)).toEqual([
      { level: 2, region: T - (T % 2 ** 21), pcid: 0 },
      { level: 3, region: T - (T % 2 ** 30), pcid: 0 },
      { level: 4, region: T - (T % 2 ** 39), pcid: 0 },
    ]);
  });

  it("end a spurious fault: the second try begins at the root", () => {
    const f = warmed();
    f.set(PDE, 0x10_3007n).set(OLD_TABLE + 0x41 * 8, 0n);
    expect(at(f, NEIGHBOUR)).toBe("fault 0x0");
    expect(at(f, NEIGHBOUR)).toBe("0x113000");
  });

  it("set A and D in the table they lead to, freed or not", () => {
    const f = warmed();
    f.set(PDE, 0n);
    at(f, NEIGHBOUR, ACCESS_WRITE);
    expect(f.get(OLD_TABLE + 0x41 * 8)).toBe(0x11_2067n);
    expect(f.get(PTE)).toBe(0x11_0027n);
  });

  it("belong to a PCID", () => {
    const f = new Fixture({ pagingStructureCaches: true });
    f.set(OLD_TABLE + 0x41 * 8, 0x11_2007n).set(NEW_TABLE + 0x41 * 8, 0x11_3007n);
    f.cpu.setControl({ pcide: true });
    f.cpu.loadCr3(ROOT, 1);
    at(f, T);
    f.set(PDE, 0x10_3007n);
    f.cpu.loadCr3(ROOT, 2, true);
    expect(at(f, NEIGHBOUR)).toBe("0x113000");
    f.cpu.loadCr3(ROOT, 1, true);
    expect(at(f, NEIGHBOUR)).toBe("0x112000");
  });

  it("have a PML5 cache with five levels", () => {
    const f = new Fixture({ pagingStructureCaches: true, levels: 5, model: { ...MODEL, la57: true } });
    f.set(0x6_0000, 0x7_0007n);
    f.cpu.loadCr3(0x6_0000);
    expect(at(f, T)).toBe("0x110000");
    expect(
      f.cpu.tables
        ?.entries()
        .map(({ level }) => level)
        .sort(),
    ).toEqual([2, 3, 4, 5]);
    expect(cpuModel("amd-zen4").la57).toBe(true);
  });
});
