import { describe, expect, it } from "vitest";
import { Fixture, PAGE_A, PAGE_B, PTE, T } from "./fixture.ts";

/** A fixture whose page was read often enough for the translation to be found without the TLB. */
function warmed(): Fixture {
  const f = new Fixture();
  for (let n = 0; n < 3; n++) expect(f.cpu.load(T)).toMatchObject({ ok: true, physical: PAGE_A });
  expect(f.cpu.tlbHit).toBe(true);
  return f;
}

describe("a translation that hit last", () => {
  it("stays as stale as the TLB's", () => {
    const f = warmed().set(PTE, 0n);
    expect(f.access("read")).toBe("ok");
    f.cpu.invlpg(T);
    expect(f.access("read")).toBe("#PF 0x00");
  });

  it.each<[string, (f: Fixture) => void]>([
    ["the TLB's own INVLPG", ({ cpu }) => cpu.tlb.invlpg(T | 0, T / 2 ** 32, 0)],
    ["a flush of the TLB", ({ cpu }) => cpu.tlb.flushAll()],
    ["MOV to CR3", ({ cpu }) => cpu.loadCr3(cpu.root)],
    ["a change of PGE", ({ cpu }) => cpu.setControl({ pge: false })],
    ["an entry dropped", ({ cpu }) => cpu.tlb.drop(cpu.tlb.lookup(T | 0, T / 2 ** 32, 0))],
  ])("goes with %s", (_, operation) => {
    const f = warmed().set(PTE, BigInt(PAGE_B) | 7n);
    operation(f);
    expect(f.cpu.load(T)).toMatchObject({ ok: true, physical: PAGE_B });
  });

  it("is judged anew when the mode or the control state changes", () => {
    const f = warmed();
    expect(f.access("read", "user")).toBe("ok");
    f.cpu.setControl({ smap: true });
    expect([f.access("read", "sup"), f.access("read", "user")]).toEqual(["#PF 0x01", "ok"]);
    f.cpu.setControl({ smap: false, pke: true, pkru: 1 });
    expect(f.access("read", "user")).toBe("#PF 0x25");
    f.cpu.setControl({ pkru: 0 });
    expect(f.access("read", "user")).toBe("ok");
  });

  it("serves its own kind of access: the first store still sets D", () => {
    const f = warmed();
    expect(f.get(PTE) & 0x40n).toBe(0n);
    expect(f.access("write")).toBe("ok");
    expect(f.get(PTE) & 0x40n).toBe(0x40n);
  });
});
