import { describe, expect, it } from "vitest";
import { MAX_MEMORY_BYTES, OUTSIDE, PhysicalMemory } from "../../../../src/package/cpu.ts";
import { Fixture, PTE, T } from "./fixture.ts";

const GIB = 2 ** 30;

describe("a memory of several GiB", () => {
  it("can be made, and costs what is touched", () => {
    const f = new Fixture({ memory: "6GiB" });
    const { memory } = f.machine;
    expect([memory.size, memory.lastWord, memory.words.length]).toEqual([6 * GIB, 1.5 * GIB - 1, 1.5 * GIB]);

    const high = 5 * GIB + 0x3000;
    f.set(PTE, BigInt(high) | 7n);
    expect(f.cpu.store(T + 0xff9, 0x1122_3344n, 4)).toMatchObject({ ok: true, physical: high + 0xff9 });
    expect(f.cpu.load(T + 0xff9, 4)).toMatchObject({ ok: true, value: 0x1122_3344n });
    expect([...memory.bytesAt(high + 0xff8, 8)]).toEqual([0, 0x44, 0x33, 0x22, 0x11, 0, 0, 0]);
    expect(memory.readLo(0x3ff8)).toBe(0);
  });

  it("may have its tables above 4 GiB", () => {
    const f = new Fixture({ memory: "6GiB" });
    const root = 4 * GIB + 0x1000;
    f.set(root + 8, 0x10_0007n);
    f.cpu.loadCr3(root);
    expect(f.access("write")).toBe("ok");
    expect(f.get(root + 8)).toBe(0x10_0027n);
    expect(f.machine.memory.slotOf(0x1007, 1, 3)).toBe((root + 24) / 4);
    expect(f.machine.memory.slotOf(0x1007, 2, 3)).toBe(OUTSIDE);
  });

  it("ends at 8 GiB", () => {
    expect(new PhysicalMemory(MAX_MEMORY_BYTES).lastWord).toBe(2 ** 31 - 1);
    expect(() => new PhysicalMemory(MAX_MEMORY_BYTES + 4096)).toThrow("up to 8589934592");
    expect(() => new PhysicalMemory(4095)).toThrow("memory of 4095 bytes: give a positive multiple of 4096");
  });
});

describe("bytes", () => {
  it("are a view of the words", () => {
    const memory = new PhysicalMemory(4096);
    memory.bytesAt(6, 3).set([0x66, 0x77, 0x88]);
    expect([memory.readLo(0), memory.readHi(0), memory.readLo(8)]).toEqual([0, 0x7766_0000, 0x88]);
    memory.write(8, -1, 0);
    memory.writeByte(9, 0x155);
    expect([7, 8, 9, 10].map((address) => memory.readByte(address))).toEqual([0x77, 0xff, 0x55, 0xff]);
    memory.clear(7, 3);
    expect([...memory.bytesAt(6, 6)]).toEqual([0x66, 0, 0, 0, 0xff, 0xff]);
  });

  it("outside memory read as ones, and a view or a clearing of them is refused", () => {
    const memory = new PhysicalMemory(4096);
    memory.writeByte(4096, 1);
    expect([memory.readByte(4096), memory.readByte(2 ** 40 + 1)]).toEqual([0xff, 0xff]);
    expect(() => memory.bytesAt(4090, 7)).toThrow("7 bytes from 4090: give a range of whole bytes inside");
    expect(() => memory.bytesAt(-1, 1)).toThrow("1 bytes from -1");
    expect(() => memory.clear(0, 4097)).toThrow("4097 bytes from 0");
    expect(memory.bytesAt(4096, 0)).toHaveLength(0);
  });
});
