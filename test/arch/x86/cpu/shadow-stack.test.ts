import { describe, expect, it } from "vitest";
import type { AccessResult } from "../../../../src/package/cpu.ts";
import { Fixture, outcome, PDE, PDPTE, PML4E, PTE, T } from "./fixture.ts";

/** The accesses of M4, with what they are to the rules; WRUSS is the kernel's store to a user's shadow stack. */
const ACCESSES = [
  { name: "read", cpl: 0, shadow: false, write: false, user: false },
  { name: "read", cpl: 3, shadow: false, write: false, user: true },
  { name: "write", cpl: 0, shadow: false, write: true, user: false },
  { name: "write", cpl: 3, shadow: false, write: true, user: true },
  { name: "ssread", cpl: 0, shadow: true, write: false, user: false },
  { name: "ssread", cpl: 3, shadow: true, write: false, user: true },
  { name: "sswrite", cpl: 0, shadow: true, write: true, user: false },
  { name: "sswrite", cpl: 3, shadow: true, write: true, user: true },
  { name: "wruss", cpl: 0, shadow: true, write: true, user: true },
] as const;
type Access = (typeof ACCESSES)[number];

function run({ cpu }: Fixture, { name, cpl }: Access): AccessResult {
  cpu.cpl = cpl;
  switch (name) {
    case "read":
      return cpu.load(T);
    case "write":
      return cpu.store(T, 1n);
    case "ssread":
      return cpu.loadShadowStack(T);
    case "sswrite":
      return cpu.storeShadowStack(T, 1n);
    case "wruss":
      return cpu.wruss(T, 1n);
  }
}

const P = 1n;
const W = 2n;
const U = 4n;
const A = 0x20n;
const D = 0x40n;

/** The rules of shadow stacks once more: the entries top first, the leaf last. Null, or the error code. */
function judge(entries: readonly bigint[], access: Access, smap: boolean): number | null {
  const leaf = entries.at(-1)!;
  const base = (access.write ? 2 : 0) | (access.user ? 4 : 0) | (access.shadow ? 0x40 : 0);
  if ((leaf & P) === 0n) return base;
  const above = entries.slice(0, -1).every((entry) => (entry & W) !== 0n);
  const userPage = entries.every((entry) => (entry & U) !== 0n);
  let allowed: boolean;
  if (access.shadow) {
    allowed = above && (leaf & W) === 0n && (leaf & D) !== 0n && userPage === access.user;
  } else {
    allowed = !access.user || userPage;
    if (access.write && !(above && (leaf & W) !== 0n)) allowed = false;
    if (!access.user && userPage && smap) allowed = false;
  }
  return allowed ? null : base | 1;
}

describe("shadow stacks", () => {
  it("M4: R/W and U/S of every level, D, P, SMAP, a cold and a warm TLB, nine accesses", () => {
    const f = new Fixture();
    f.cpu.setControl({ cet: true });
    const wrong: string[] = [];
    const histogram: Record<string, number> = {};
    let cases = 0;
    for (let n = 0; n < 2 ** 12; n++) {
      const bit = (i: number, mask: bigint): bigint => (((n >> i) & 1) === 1 ? mask : 0n);
      const tables = [
        0x10_0001n | bit(0, W) | bit(1, U),
        0x10_1001n | bit(2, W) | bit(3, U),
        0x10_2001n | bit(4, W) | bit(5, U),
      ];
      const leaf = 0x11_0000n | bit(6, W) | bit(7, U) | bit(8, D) | bit(9, P);
      const smap = bit(10, 1n) === 1n;
      const warm = bit(11, 1n) === 1n;
      f.cpu.setControl({ smap });
      for (const access of ACCESSES) {
        f.set(PML4E, tables[0]!).set(PDPTE, tables[1]!).set(PDE, tables[2]!).set(PTE, leaf);
        f.cpu.dropPage(T);
        if (warm) {
          f.cpu.cpl = 0;
          f.cpu.load(T);
        }
        const before = f.get(PTE);
        const expected = judge([...tables, leaf], access, smap);
        const got = run(f, access);
        const error = got.ok ? null : got.fault.errorCode;
        const after = expected === null ? before | A | (access.write ? D : 0n) : before;
        cases++;
        const key = expected === null ? "ok" : `0x${expected.toString(16)}`;
        histogram[key] = (histogram[key] ?? 0) + 1;
        if ((error !== expected || f.get(PTE) !== after) && wrong.length < 5) {
          wrong.push(`${n} ${access.name} at CPL ${access.cpl}: ${error}, not ${expected}`);
        }
      }
    }
    console.log(`M4: ${cases} cases, ${JSON.stringify(histogram)}`);
    expect(wrong).toEqual([]);
    expect(cases).toBe(36_864);
    const codes = Array.from({ length: 8 }, (_, code) => [`0x${code}`, `0x4${code}`]).flat();
    expect(Object.keys(histogram).sort()).toEqual(["ok", ...codes].sort());
  });

  it("keys guard them like other data", () => {
    const f = new Fixture().set(PTE, 0x0800_0000_0011_0045n);
    f.cpu.setControl({ cet: true, pke: true, pkru: 4 });
    expect(outcome(f.cpu.wruss(T, 1n))).toBe("#PF 0x67");
    f.cpu.setControl({ pkru: 8 });
    f.cpu.cpl = 3;
    expect(outcome(f.cpu.loadShadowStack(T))).toBe("ok");
    expect(outcome(f.cpu.storeShadowStack(T, 1n))).toBe("#PF 0x67");
    f.cpu.setControl({ pke: false });
    expect(outcome(f.cpu.storeShadowStack(T, 1n))).toBe("ok");
    f.set(PTE, 0x11_0005n).cpu.dropPage(T);
    f.cpu.storeShadowStack(T, 1n);
    expect(f.cpu.fault?.describe()).toContain("user write, it is no shadow-stack page of this mode");
  });

  it("an entry cached with D=0 stops a store that the entry now allows at most once", () => {
    const f = new Fixture().set(PTE, 0x11_0005n);
    f.cpu.setControl({ cet: true });
    f.access("read");
    f.set(PTE, 0x11_0065n);
    expect(outcome(f.cpu.wruss(T, 1n))).toBe("#PF 0x47");
    expect(outcome(f.cpu.wruss(T, 1n))).toBe("ok");
  });

  it("do not exist without CR4.CET, and WRUSS is the kernel's", () => {
    const f = new Fixture();
    const { cpu } = f;
    expect([cpu.loadShadowStack(T), cpu.storeShadowStack(T, 1), cpu.wruss(T, 1)].map(outcome)).toEqual([
      "#UD",
      "#UD",
      "#UD",
    ]);
    cpu.setControl({ cet: true });
    cpu.cpl = 3;
    expect(outcome(cpu.wruss(T, 1n))).toBe("#GP");
    expect(cpu.fault).toMatchObject({ reason: "privilege", entryAddress: -1 });
    cpu.cpl = 0;
    f.set(PTE, 0x11_0045n);
    expect([cpu.wruss(T + 4, 1), cpu.wruss(T + 2, 1, 4), cpu.wruss(T + 4, 1, 4)].map(outcome)).toEqual([
      "#GP",
      "#GP",
      "ok",
    ]);
    // No walk was made for what is misaligned, not even across two pages.
    expect(outcome(cpu.storeShadowStack(T + 0xffc, 1))).toBe("#GP");
    expect(cpu.cr2).toBe(0n);
  });
});
