import { describe, expect, test } from "vitest";
import { type CacheHook, type LineFlush, Mtrrs } from "../../../../src/package/cpu.ts";
import { Fixture, PDE, PTE, T } from "./fixture.ts";

function hooked(): { f: Fixture; log: string[] } {
  const log: string[] = [];
  const cacheHook: CacheHook = {
    line: (cpu, instruction, physical) => log.push(`${cpu} ${instruction} ${physical.toString(16)}`),
    all: (cpu, instruction) => log.push(`${cpu} ${instruction}`),
    walked: (_cpu, page, bytes, type) => log.push(`${page.toString(16)}+${bytes} ${type}`),
  };
  const mtrrs = new Mtrrs("WB", [{ base: 0x40_0000, length: 0x20_0000, type: "UC" }]);
  return { f: new Fixture({ cacheHook, mtrrs }), log };
}

describe("the cache hook", () => {
  test("hears of flushes of lines, which are translated as loads", () => {
    const { f, log } = hooked();
    expect(f.cpu.flushLine("CLFLUSH", T + 0x7f)).toMatchObject({ ok: true, physical: 0x11_0040 });
    f.cpu.cpl = 3;
    expect(f.cpu.flushLine("CLWB", T)).toMatchObject({ ok: true });
    expect(f.cpu.flushLine("CLFLUSHOPT", T + 0x1000)).toMatchObject({ fault: { kind: "#PF", errorCode: 4 } });
    expect(f.cpu.flushLine("CLFLUSH", 2 ** 52)).toMatchObject({ fault: { kind: "#GP" } });
    expect(log).toEqual(["110000+4096 WB", "0 CLFLUSH 110040", "0 CLWB 110000"]);
    expect(f.accessed()).toBe("1111");
    expect(() => f.cpu.flushLine("CLEAR" as LineFlush, T)).toThrow('instruction "CLEAR"');
  });

  test("hears of flushes of everything, at CPL 0 alone", () => {
    const { f, log } = hooked();
    f.cpu.flushCaches("WBINVD");
    f.cpu.cpl = 3;
    expect(f.cpu.flushCaches("INVD")).toMatchObject({ ok: false, fault: "#GP" });
    expect(log).toEqual(["0 WBINVD"]);
    expect(() => f.cpu.flushCaches("CLFLUSH" as "INVD")).toThrow(TypeError);
  });

  test("hears the memory type of each translation that a walk finds", () => {
    const { f, log } = hooked();
    f.cpu.load(T);
    f.cpu.load(T);
    f.cpu.invlpg(T);
    f.set(PTE, 0x11_001fn);
    f.cpu.load(T);
    f.cpu.invlpg(T);
    f.set(PDE, 0x40_0087n);
    f.cpu.load(T);
    expect(log).toEqual(["110000+4096 WB", "110000+4096 UC", "400000+2097152 UC"]);
  });

  test("may be left out, wholly or in part", () => {
    const f = new Fixture({ cacheHook: {} });
    expect([f.cpu.load(T).ok, f.cpu.flushLine("CLFLUSH", T).ok]).toEqual([true, true]);
    expect(new Fixture().cpu.flushCaches("WBNOINVD")).toEqual({ ok: true });
  });
});
