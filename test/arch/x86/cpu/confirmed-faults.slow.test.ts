import { describe, expect, it } from "vitest";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type CpuModel,
  cpuModel,
  type HardwareRecord,
  type MachineOptions,
  OutcomeOracle,
  permits,
  TLB_POLICIES,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PDE, PTE, T } from "./fixture.ts";

/*
 * What a store or a fetch meets behind a cached entry with fewer rights than memory has by now. Intel may raise one fault
 * that memory does not explain (SDM vol. 3, 4.10.4.3 Optional Invalidation); AMD walks again before it reports any (APM
 * vol. 2, 5.5.3 Use of Cached Entries When Reporting a Page Fault Exception).
 */

const AMD: CpuModel = { ...cpuModel("amd-zen4"), name: "fixture-amd", maxPhyAddr: 40 };
const NEXT = T + 0x1000;
const NEXT_PTE = PTE + 8;
const OTHER_NEXT = 0x10_3000 + 0x41 * 8;

interface Scene {
  readonly name: string;
  readonly warm: readonly (readonly [number, bigint])[];
  readonly first: readonly [kind: number, who: "sup" | "user"];
  readonly upgrade: readonly (readonly [number, bigint])[];
  readonly last: readonly [kind: number, who: "sup" | "user", address: number];
  /** What a stale entry alone says. */
  readonly spurious: string;
  readonly end: string;
}

const SCENES: readonly Scene[] = [
  {
    name: "R/W set, D=0",
    warm: [[PTE, 0x11_0005n]],
    first: [ACCESS_READ, "sup"],
    upgrade: [[PTE, 0x11_0007n]],
    last: [ACCESS_WRITE, "sup", T],
    spurious: "0x3",
    end: "0x110000",
  },
  {
    name: "R/W set, D=1",
    warm: [[PTE, 0x11_0045n]],
    first: [ACCESS_READ, "user"],
    upgrade: [[PTE, 0x11_0047n]],
    last: [ACCESS_WRITE, "user", T],
    spurious: "0x7",
    end: "0x110000",
  },
  {
    name: "U/S set",
    warm: [[PTE, 0x11_0003n]],
    first: [ACCESS_READ, "sup"],
    upgrade: [[PTE, 0x11_0007n]],
    last: [ACCESS_READ, "user", T],
    spurious: "0x5",
    end: "0x110000",
  },
  {
    name: "XD cleared",
    warm: [[PTE, 0x8000_0000_0011_0007n]],
    first: [ACCESS_READ, "user"],
    upgrade: [[PTE, 0x11_0007n]],
    last: [ACCESS_FETCH, "user", T],
    spurious: "0x15",
    end: "0x110000",
  },
  {
    name: "R/W set in the PDE",
    warm: [
      [PDE, 0x10_2005n],
      [NEXT_PTE, 0x11_2007n],
    ],
    first: [ACCESS_READ, "sup"],
    upgrade: [[PDE, 0x10_2007n]],
    last: [ACCESS_WRITE, "sup", NEXT],
    spurious: "0x3",
    end: "0x112000",
  },
  {
    name: "table replaced by one that has the page",
    warm: [[OTHER_NEXT, 0x11_3007n]],
    first: [ACCESS_READ, "sup"],
    upgrade: [[PDE, 0x10_3007n]],
    last: [ACCESS_READ, "sup", NEXT],
    spurious: "0x0",
    end: "0x113000",
  },
  {
    name: "table with a reserved bit replaced",
    warm: [
      [NEXT_PTE, 0x8_0000_0011_2007n | (1n << 45n)],
      [OTHER_NEXT, 0x11_3007n],
    ],
    first: [ACCESS_READ, "sup"],
    upgrade: [[PDE, 0x10_3007n]],
    last: [ACCESS_READ, "sup", NEXT],
    spurious: "0x9",
    end: "0x113000",
  },
];

const CACHES: readonly Partial<MachineOptions>[] = [
  ...TLB_POLICIES.map((tlb) => ({ tlb, pagingStructureCaches: true })),
  { tlb: "stale", pagingStructureCaches: true, fractureLargePages: true },
];

function act(f: Fixture, kind: number, who: "sup" | "user", address: number): string {
  f.cpu.cpl = who === "user" ? 3 : 0;
  const physical = f.cpu.translate(kind, address | 0, (address / 2 ** 32) | 0);
  return `0x${(physical < 0 ? (f.cpu.fault?.errorCode ?? -1) : physical).toString(16)}`;
}

function played(scene: Scene, model: CpuModel, caches: Partial<MachineOptions>): string[] {
  const f = new Fixture({ model, ...caches });
  const store = (entries: Scene["warm"]): void => {
    for (const [at, value] of entries)
      f.machine.storeEntry(at, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0, 0);
  };
  const oracle = new OutcomeOracle(f.machine);
  f.machine.records.listen(oracle.observe, oracle.isTable);
  store(scene.warm);
  const [kind, who, address] = scene.last;
  act(f, ...scene.first, T);
  store(scene.upgrade);
  return [0, 1].map(() => {
    f.cpu.cpl = who === "user" ? 3 : 0;
    const allowed = oracle.allowed(0, kind, address | 0, (address / 2 ** 32) | 0);
    const result = act(f, kind, who, address);
    const ended = Number(result) < 0x1000 ? { errorCode: Number(result) } : { physical: Number(result) };
    expect(permits(allowed, ended)).toBe(true);
    // On AMD memory alone explains a fault.
    if (model === AMD) expect(allowed.filter(({ errorCode }) => errorCode !== undefined)).toEqual([]);
    return result;
  });
}

describe("an upgrade behind a cached entry", () => {
  it.each(SCENES)("$name: one spurious fault at the most on Intel, none on AMD", (scene) => {
    for (const caches of CACHES) {
      const ends = [caches, played(scene, AMD, caches)];
      expect(ends).toEqual([caches, [scene.end, scene.end]]);
      const [first, second] = played(scene, MODEL, caches);
      expect([scene.spurious, scene.end]).toContain(first);
      expect(second).toBe(scene.end);
    }
  });

  it.each(SCENES)("$name: the TLB that keeps everything does raise it on Intel", (scene) => {
    const caches = { tlb: "stale", pagingStructureCaches: true } as const;
    expect(played(scene, MODEL, caches)).toEqual([scene.spurious, scene.end]);
  });
});

describe("a fault on AMD", () => {
  it("comes after what was cached is gone, and leaves no cached table entry that leads to it", () => {
    const f = new Fixture({ model: AMD, pagingStructureCaches: true });
    f.access("read");
    f.set(PTE, 0x11_0005n);
    const causes: string[] = [];
    f.machine.records.listen((record: HardwareRecord) => {
      if (record.kind === "invalidated") causes.push(record.cause);
      if (record.kind === "fault") causes.push(`fault ${record.code}`);
    });
    expect(f.access("write")).toBe("#PF 0x03");
    // The store's walk began at a cached table; the walk that confirms it began at the root.
    expect(causes).toEqual(["#PF", "fault 3", "#PF"]);
    expect(f.cpu.fault?.cached).toBe(false);
    expect([f.cpu.tlb.entries(), f.cpu.tables?.entries()]).toEqual([[], []]);
  });

  it("is reported with the error code of memory, not with that of the stale entry", () => {
    const f = new Fixture({ model: AMD }).set(PTE, 0x11_0005n);
    f.access("read");
    expect(f.set(PTE, 0n).access("write")).toBe("#PF 0x02");
    const intel = new Fixture().set(PTE, 0x11_0005n);
    intel.access("read");
    expect(intel.set(PTE, 0n).access("write")).toBe("#PF 0x03");
  });
});
