import { describe, expect, it } from "vitest";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  Entry,
  invpcid,
  type MachineOptions,
  OutcomeOracle,
  permits,
  TLB_POLICIES,
} from "../../../src/package/cpu.ts";
import { Fixture, PDE, PTE, ROOT, T } from "../../arch/x86/cpu/fixture.ts";

const OLD_TABLE = 0x10_2000;
const NEW_TABLE = 0x10_3000;
const OTHER = T + 0x1000;

/** A machine on which every access is checked against the oracle, and told as a page or an error. */
class Scene {
  readonly f: Fixture;
  readonly #oracle: OutcomeOracle;

  constructor(caches: Partial<MachineOptions>) {
    this.f = new Fixture(caches);
    this.#oracle = new OutcomeOracle(this.f.machine);
    this.f.machine.records.listen(this.#oracle.observe, this.#oracle.isTable);
  }

  entry(address: number, value: bigint): this {
    const { lo, hi } = Entry.fromBigInt(value);
    this.f.machine.storeEntry(address, lo, hi, 0);
    return this;
  }

  read(address = T): string {
    return this.#access(ACCESS_READ, address);
  }

  write(address = T): string {
    return this.#access(ACCESS_WRITE, address);
  }

  #access(kind: number, address: number): string {
    const { cpu } = this.f;
    const [lo, hi] = [address | 0, (address / 2 ** 32) | 0];
    const allowed = this.#oracle.allowed(0, kind, lo, hi);
    const physical = cpu.translate(kind, lo, hi);
    const errorCode = cpu.fault?.errorCode ?? -1;
    expect(permits(allowed, physical < 0 ? { errorCode } : { physical })).toBe(true);
    return physical < 0 ? `error ${errorCode}` : `0x${physical.toString(16)}`;
  }
}

const A = "0x110000";
const B = "0x111000";

/** Number and given of a conformance fact, what is done, and every answer that it may have. */
const FACTS: readonly [number, string, (s: Scene) => string[], readonly string[][]][] = [
  [
    62,
    "warm read, PTE cleared: read",
    (s) => [s.read(), s.entry(PTE, 0n).read()],
    [
      [A, A],
      [A, "error 0"],
    ],
  ],
  [63, "warm read, PTE cleared: write", (s) => [s.read(), s.entry(PTE, 0n).write()], [[A, "error 2"]]],
  [
    64,
    "warm write, PTE cleared: write; the PTE stays 0",
    (s) => [s.write(), s.entry(PTE, 0n).write(), String(s.f.get(PTE))],
    [
      [A, A, "0"],
      [A, "error 2", "0"],
    ],
  ],
  [
    65,
    "warm read, PTE made read-only: write; D stays 0",
    (s) => [s.read(), s.entry(PTE, 0x11_0025n).write(), s.f.get(PTE).toString(16)],
    [[A, "error 3", "110025"]],
  ],
  [
    66,
    "warm read, PTE to another page: read, write",
    (s) => [s.read(), s.entry(PTE, 0x11_1027n).read(), s.write(), s.f.get(PTE).toString(16)],
    [
      [A, A, B, "111067"],
      [A, B, B, "111067"],
    ],
  ],
  [
    67,
    "warm write, D cleared in memory: write; after INVLPG D is set",
    (s) => {
      s.write();
      s.entry(PTE, 0x11_0027n).write();
      s.f.cpu.invlpg(T);
      return [s.write(), s.f.get(PTE).toString(16)];
    },
    [[A, "110067"]],
  ],
  [
    68,
    "warm read of a read-only page, R/W set: write, write",
    (s) => [s.entry(PTE, 0x11_0005n).read(), s.entry(PTE, 0x11_0027n).write(), s.write()],
    [
      [A, A, A],
      [A, "error 3", A],
    ],
  ],
  [
    69,
    "P=0 faulted, P set: read",
    (s) => [s.entry(PTE, 0x11_0006n).read(), s.entry(PTE, 0x11_0007n).read()],
    [["error 0", A]],
  ],
  [
    70,
    "warm read, PDE to another table: read of another page",
    (s) => {
      s.entry(OLD_TABLE + 0x41 * 8, 0x11_2007n)
        .entry(NEW_TABLE + 0x41 * 8, 0x11_3007n)
        .read();
      return [s.entry(PDE, 0x10_3007n).read(OTHER)];
    },
    [["0x112000"], ["0x113000"]],
  ],
  [
    71,
    "warm read of a global page, PTE changed, CR3 loaded: read; then INVLPG: read",
    (s) => {
      s.entry(PTE, 0x11_0107n).read();
      s.entry(PTE, 0x11_1107n).f.cpu.loadCr3(ROOT);
      const before = s.read();
      s.f.cpu.invlpg(T);
      return [before, s.read()];
    },
    [
      [A, B],
      [B, B],
    ],
  ],
  [
    73,
    "PCID 1 warm, PTE changed: read in PCID 2, back in 1 with bit 63, back in 1 without",
    (s) => {
      const { cpu } = s.f;
      cpu.setControl({ pcide: true });
      cpu.loadCr3(ROOT, 1);
      s.read();
      s.entry(PTE, 0x11_1007n);
      cpu.loadCr3(ROOT, 2, true);
      const other = s.read();
      cpu.loadCr3(ROOT, 1, true);
      const kept = s.read();
      cpu.loadCr3(ROOT, 1);
      return [other, kept, s.read()];
    },
    [
      [B, A, B],
      [B, B, B],
    ],
  ],
  [
    87,
    "INVLPG of an address that is not canonical does nothing",
    (s) => {
      s.read();
      s.f.cpu.invlpg(0x8000_0000_0000_0000n);
      return [s.read()];
    },
    [[A]],
  ],
  [
    99,
    "INVPCID of PCID 1 without PCIDE is #GP, of PCID 0 done",
    (s) =>
      [0, 1].flatMap((pcid) =>
        [0, 1, 2, 3].map((type) => (invpcid(s.f.cpu, type, pcid, T).ok ? "ok" : "#GP")),
      ),
    [["ok", "ok", "ok", "ok", "#GP", "#GP", "ok", "ok"]],
  ],
];

const CACHES: readonly Partial<MachineOptions>[] = [
  ...TLB_POLICIES.map((tlb) => ({ tlb })),
  { tlb: "stale", pagingStructureCaches: true },
  { tlb: "none", pagingStructureCaches: true },
];

describe("conformance facts about TLBs, on every kind of TLB", () => {
  it.each(FACTS)("%i: %s", (_number, _given, run, answers) => {
    for (const caches of CACHES) {
      const got = run(new Scene(caches));
      expect(answers, JSON.stringify(caches)).toContainEqual(got);
    }
  });
});
