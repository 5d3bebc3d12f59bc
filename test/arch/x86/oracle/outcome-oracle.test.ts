import { describe, expect, it } from "vitest";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  Entry,
  invlpgb,
  type MachineOptions,
  type OracleOptions,
  OutcomeOracle,
  scopeOf,
  tlbsync,
} from "../../../../src/package/cpu.ts";
import { Fixture, PDE, PTE, ROOT, T } from "../cpu/fixture.ts";

/** A machine watched by an oracle from when its caches were empty. */
class Watched {
  readonly f: Fixture;
  readonly oracle: OutcomeOracle;

  constructor(machine: Partial<MachineOptions> = {}, options: OracleOptions = {}) {
    this.f = new Fixture(machine);
    this.oracle = new OutcomeOracle(this.f.machine, options);
    this.f.machine.records.listen(this.oracle.observe, this.oracle.isTable);
  }

  /** A store of an entry that the oracle sees. */
  write(address: number, value: bigint): this {
    const { lo, hi } = Entry.fromBigInt(value);
    this.f.machine.storeEntry(address, lo, hi, 0);
    return this;
  }

  /** "frame" or "error" with the source, of every legal outcome. */
  allowed(kind: number = ACCESS_READ, address: number = T, cpu = 0): string[] {
    return this.oracle
      .allowed(cpu, kind, address | 0, (address / 2 ** 32) | 0)
      .map(({ physical, errorCode, source }) =>
        physical === undefined
          ? `error 0x${errorCode.toString(16)} ${source}`
          : `0x${physical.toString(16)} ${source}`,
      );
  }
}

describe("the oracle, asked about one page", () => {
  it("knows nothing but memory when nothing has changed", () => {
    const w = new Watched();
    expect(w.allowed()).toEqual(["0x110000 fresh"]);
    w.f.cpu.load(T);
    expect(w.allowed()).toEqual(["0x110000 fresh"]);
  });

  it("allows the old page until INVLPG, whether or not any access was made", () => {
    const w = new Watched().write(PTE, 0n);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
    w.f.cpu.invlpg(T + 0x1000);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
    w.f.cpu.invlpg(T);
    expect(w.allowed()).toEqual(["error 0x0 fresh"]);
  });

  it("says why, in words", () => {
    const w = new Watched().write(PTE, 0x11_1007n).write(PDE, 0x10_3007n);
    w.f.set(0x10_3000 + 0x40 * 8, 0x11_2007n);
    expect(w.oracle.allowed(0, ACCESS_READ, T | 0, T / 2 ** 32)).toEqual([
      { physical: 0x11_2000, source: "fresh", why: "memory says so" },
      {
        physical: 0x11_1000,
        source: "stale-table",
        why: "a cached entry still leads to the table at 0x102000",
      },
      {
        physical: 0x11_0000,
        source: "stale-leaf",
        why: "a 4-KiB translation to 0x110000 with D=0 may be cached",
      },
    ]);
  });

  it("promises a store through a clean translation to be a walk, unless told to read the manual weakly", () => {
    for (const [cleanStore, after] of [
      ["walks", ["error 0x3 fresh"]],
      ["present", ["error 0x3 fresh", "0x110000 stale-leaf"]],
    ] as const) {
      const w = new Watched({}, { cleanStore }).write(PTE, 0x11_0005n);
      expect(w.allowed(ACCESS_WRITE)).toEqual(after);
      w.write(PTE, 0n);
      expect(w.allowed(ACCESS_WRITE)).toEqual(["error 0x2 fresh", "error 0x3 stale-leaf"]);
    }
    const dirty = new Watched();
    dirty.f.cpu.store(T, 1);
    dirty.write(PTE, 0n);
    expect(dirty.allowed(ACCESS_WRITE)).toEqual(["error 0x2 fresh", "0x110000 stale-leaf"]);
  });

  it("allows one spurious fault from fewer rights, and none after it", () => {
    const w = new Watched().write(PTE, 0x8000_0000_0011_0003n).write(PTE, 0x11_0007n);
    w.f.cpu.cpl = 3;
    expect(w.allowed(ACCESS_FETCH)).toEqual(["0x110000 fresh", "error 0x15 stale-leaf"]);
    w.f.cpu.cpl = 0;
    w.f.cpu.invalidate("#PF", scopeOf("#PF", w.f.cpu.control, { lo: T | 0, hi: (T / 2 ** 32) | 0 }));
    expect(w.allowed(ACCESS_FETCH)).toEqual(["0x110000 fresh"]);
  });

  it("applies WP, SMEP, AC and keys as they are at the access", () => {
    const w = new Watched().write(PTE, 0x11_0045n).write(PTE, 0n);
    expect(w.allowed(ACCESS_WRITE)).toEqual(["error 0x2 fresh", "error 0x3 stale-leaf"]);
    w.f.cpu.setControl({ wp: false });
    expect(w.allowed(ACCESS_WRITE)).toEqual(["error 0x2 fresh", "0x110000 stale-leaf"]);
  });

  it("keeps global translations over CR3 loads and for every PCID, others under their own", () => {
    const w = new Watched().write(PTE, 0x11_0107n);
    w.f.cpu.setControl({ pcide: true });
    w.allowed();
    w.write(PTE, 0x11_1007n).write(PTE, 0n);
    w.f.cpu.loadCr3(ROOT, 7);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
    w.f.cpu.loadCr3(ROOT, 0, true);
    expect(w.allowed().sort()).toEqual(["0x110000 stale-leaf", "0x111000 stale-leaf", "error 0x0 fresh"]);
    w.f.cpu.loadCr3(ROOT, 0);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
    w.f.cpu.setControl({ pge: false });
    expect(w.allowed()).toEqual(["error 0x0 fresh"]);
  });

  it("lets nothing be made between a load of CR3 and its flush", () => {
    const w = new Watched();
    const { cpu } = w.f;
    const EMPTY_ROOT = 0x20_0000;
    cpu.setControl({ pcide: true });
    cpu.loadCr3(ROOT, 1);
    w.allowed();
    cpu.loadCr3(EMPTY_ROOT, 2);
    // Under PCID 1 the page table may still be cached; a global translation made by it would outlive the load.
    w.write(PTE, 0x11_1107n);
    cpu.loadCr3(EMPTY_ROOT, 1);
    expect(w.allowed()).toEqual(["error 0x0 fresh"]);
    cpu.loadCr3(ROOT, 2);
  });

  it("knows that a leaf may be made again by a table that is dropped after it", () => {
    const w = new Watched({ model: "amd-zen4" });
    const { cpu } = w.f;
    w.write(PDE, 0n).allowed();
    // The leaf alone goes, and the cached page table may make it again; then the table goes, at another page's INVLPG.
    invlpgb(cpu, { address: T, finalOnly: true });
    tlbsync(cpu);
    cpu.invlpg(T + 2 ** 39);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
  });

  it("keeps CPUs apart", () => {
    const w = new Watched({ cpus: 2 });
    w.f.machine.cpu(1).loadCr3(ROOT);
    w.write(PTE, 0n);
    w.f.cpu.invlpg(T);
    expect([w.allowed(ACCESS_READ, T, 0), w.allowed(ACCESS_READ, T, 1)]).toEqual([
      ["error 0x0 fresh"],
      ["error 0x0 fresh", "0x110000 stale-leaf"],
    ]);
  });

  it("takes a cached table with what stands in it later", () => {
    const w = new Watched().write(PDE, 0n).write(PTE, 0x11_1007n);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x111000 stale-table", "0x110000 stale-leaf"]);
    w.f.cpu.invlpg(T + 0x1000);
    // The cached table entry is gone; what it led to may have been cached as a leaf before.
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf", "0x111000 stale-leaf"]);
  });
});

describe("the oracle's memory", () => {
  it("answers for a page asked about late as if it had watched from the start, and leaves memory alone", () => {
    const early = new Watched();
    const late = new Watched();
    early.allowed(ACCESS_READ, T + 0x1000);
    for (const w of [early, late]) {
      w.write(PTE + 8, 0x11_1007n);
      w.f.cpu.store(T + 0x1000, 1);
      w.write(PTE + 8, 0x11_2007n).write(PDE, 0x10_3007n);
    }
    const before = late.f.get(PTE + 8);
    expect(late.allowed(ACCESS_WRITE, T + 0x1000)).toEqual(early.allowed(ACCESS_WRITE, T + 0x1000));
    expect(late.allowed(ACCESS_WRITE, T + 0x1000)).toContain("0x111000 stale-leaf");
    expect(late.f.get(PTE + 8)).toBe(before);
  });

  it("stays short with one CPU that flushes everything now and then", () => {
    const w = new Watched();
    for (let i = 0; i < 5_000; i++) w.write(PTE, i % 2 === 0 ? 0n : 0x11_0007n);
    w.f.cpu.setControl({ pge: false });
    w.write(PTE, 0n);
    expect(w.allowed()).toEqual(["error 0x0 fresh", "0x110000 stale-leaf"]);
  });

  it("made for some pages, refuses others; nothing is asked of addresses that are not canonical", () => {
    const w = new Watched({}, { pages: [T] });
    expect(w.allowed()).toEqual(["0x110000 fresh"]);
    expect(() => w.allowed(ACCESS_READ, T + 0x1000)).toThrow(
      "this oracle was made for a list of other pages",
    );
    expect(() => w.oracle.allowed(0, ACCESS_READ, 0, 0x8000)).toThrow("not canonical");
  });
});
