import { describe, expect, test } from "vitest";
import {
  ACCESS_READ,
  type Bus,
  type BusSize,
  type CpuModel,
  cpuModel,
  Machine,
  OutcomeOracle,
  SparseMemory,
} from "../../../../src/package/cpu.ts";

/** The part of WebAssembly that is used here: it is no part of the language's own types. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };

const BUFFER = 0x10_0000;
const LINEAR = 0x7f00_0000_0000;
/** The last gibibyte below 2^52. */
const HIGH = 2 ** 52 - 2 ** 30;
const DEVICE = 0xfee0_0000;
const WIDE: CpuModel = { ...cpuModel("intel-sapphire-rapids"), name: "wide", maxPhyAddr: 52 };

/** A device of two registers that counts how often each is read, and everything it was asked. */
class Device implements Bus {
  readonly log: string[] = [];
  reads = 0n;

  read(physical: number, size: BusSize): bigint {
    this.log.push(`read ${size} ${physical.toString(16)}`);
    return ++this.reads;
  }

  write(physical: number, size: BusSize, value: bigint): void {
    this.log.push(`write ${size} ${physical.toString(16)} ${value.toString(16)}`);
  }
}

/** Maps the pages from LINEAR on by tables from `tables` on. */
function mapped(machine: Machine, tables: number, pages: readonly number[]): Machine {
  const set = (at: number, to: number): void => {
    machine.storeEntry(at, to | 7 | 0, Math.floor(to / 2 ** 32), null);
  };
  set(tables + 8 * 0xfe, tables + 0x1000);
  set(tables + 0x1000, tables + 0x2000);
  set(tables + 0x2000, tables + 0x3000);
  for (const [i, page] of pages.entries()) set(tables + 0x3000 + 8 * i, page);
  machine.cpu(0).loadCr3(tables);
  return machine;
}

describe("a device on the bus", () => {
  const scene = () => {
    const bus = new Device();
    const machine = mapped(new Machine({ memory: BUFFER, bus }), 0x1000, [DEVICE, 0x8000]);
    return { bus, machine, cpu: machine.cpu(0) };
  };

  test("has each access as it was made", () => {
    const { bus, cpu } = scene();
    expect(cpu.load(LINEAR + 8, 4)).toMatchObject({ ok: true, physical: DEVICE + 8, value: 1n });
    cpu.store(LINEAR + 0x10, 0xabn, 1);
    cpu.store(LINEAR + 0x18, 0x1122_3344_5566_7788n);
    expect(cpu.touch(LINEAR + 0x20, false)).toBeNull();
    expect([cpu.dataLo, cpu.dataHi]).toEqual([2, 0]);
    expect(cpu.readModifyWrite(LINEAR, (old) => old + 1n, 4)).toMatchObject({ value: 3n });
    expect(bus.log).toEqual([
      "read 4 fee00008",
      "write 1 fee00010 ab",
      "write 8 fee00018 1122334455667788",
      "read 8 fee00020",
      "read 4 fee00000",
      "write 4 fee00000 4",
    ]);
  });

  test("has what is longer or not aligned in parts, and of what crosses into memory its own", () => {
    const { bus, machine, cpu } = scene();
    cpu.store(LINEAR + 2, 0x0102_0304n, 4);
    cpu.load(LINEAR, 16);
    cpu.store(LINEAR + 0xffe, 0x0102_0304n, 4);
    expect(bus.log).toEqual([
      "write 2 fee00002 304",
      "write 2 fee00004 102",
      "read 8 fee00000",
      "read 8 fee00008",
      "write 2 fee00ffe 304",
    ]);
    expect(machine.memory.readByte(0x8000)).toBe(2);
  });

  test("is not asked for addresses inside the buffer, nor by whoever looks at tables", () => {
    const { bus, machine, cpu } = scene();
    cpu.store(LINEAR + 0x1008, 0x5an);
    expect(cpu.load(LINEAR + 0x1008)).toMatchObject({ physical: 0x8008, value: 0x5an });
    expect(machine.memory.hasFrame(DEVICE / 4096)).toBe(false);
    expect(machine.memory.tableAt(DEVICE)).toBeNull();
    expect(bus.log).toEqual([]);
  });

  test("a walk that is led there reads an entry as 8 bytes", () => {
    const { bus, machine, cpu } = scene();
    machine.storeEntry(0x3000, DEVICE | 7, 0, null);
    cpu.load(LINEAR);
    expect(bus.log[0]).toBe("read 8 fee00000");
  });
});

describe("sparse memory up to 52 bits", () => {
  const scene = (bus: Bus = new SparseMemory(BUFFER)) => {
    const machine = new Machine({ memory: BUFFER, bus, model: WIDE });
    return mapped(machine, HIGH, [HIGH + 0x10_0000, 0x8000, 2 ** 50]);
  };

  test("holds page tables, which walks read and mark, and pages", () => {
    const machine = scene();
    const cpu = machine.cpu(0);
    expect(cpu.store(LINEAR + 8, 0x77n)).toMatchObject({ ok: true, physical: HIGH + 0x10_0008 });
    expect(cpu.load(LINEAR + 8)).toMatchObject({ value: 0x77n });
    expect(cpu.load(LINEAR + 0x2010, 4)).toMatchObject({ physical: 2 ** 50 + 0x10, value: 0n });
    const pte = (i: number) => machine.memory.read(HIGH + 0x3000 + 8 * i).toString();
    expect([pte(0), pte(1), pte(2)]).toEqual([
      "0x000fffffc0100067",
      "0x0000000000008007",
      "0x0004000000000027",
    ]);
    expect((machine.memory.readLo(HIGH + 8 * 0xfe) & 0x20) !== 0).toBe(true);
    expect((machine.memory.bus as SparseMemory).pages).toBe(5);
  });

  test("is marked by the bus's own compare-and-swap where it has one", () => {
    const sparse = new SparseMemory(BUFFER);
    let swaps = 0;
    const machine = scene({
      read: (at, size) => sparse.read(at, size),
      write: (at, size, value) => sparse.write(at, size, value),
      compareExchange(at, old, value) {
        swaps++;
        if (sparse.read(at, 8) !== old) return false;
        sparse.write(at, 8, value);
        return true;
      },
    });
    machine.cpu(0).load(LINEAR);
    machine.cpu(0).load(LINEAR);
    expect(swaps).toBe(4);
  });

  test("its entries are recorded, and an oracle judges by them", () => {
    const machine = scene();
    const oracle = new OutcomeOracle(machine);
    machine.records.listen(oracle.observe, oracle.isTable);
    machine.storeEntry(HIGH + 0x3000, 0, 0, 0);
    const outcomes = oracle.allowed(0, ACCESS_READ, LINEAR | 0, LINEAR / 2 ** 32);
    expect(outcomes.map(({ physical }) => physical)).toEqual([undefined, HIGH + 0x10_0000]);
  });

  test("ends where it is said to: all ones, and stores are dropped", () => {
    const sparse = new SparseMemory(0x10_0000, 0x20_0000);
    sparse.write(0x20_0000, 8, 1n);
    expect([sparse.read(0x20_0000, 2), sparse.read(0x1f_fff8, 8), sparse.pages]).toEqual([0xffffn, 0n, 0]);
    expect(() => new SparseMemory(0, 2 ** 53)).toThrow("sparse memory from 0 to 9007199254740992");
    expect(() => new SparseMemory(0x800)).toThrow(RangeError);
  });
});

describe("memory that is given", () => {
  test("is used as it is: an ArrayBuffer, or that of a WebAssembly.Memory", () => {
    const wasm = new WebAssembly.Memory({ initial: BUFFER / 0x1_0000 });
    for (const memory of [new ArrayBuffer(BUFFER), wasm.buffer]) {
      const machine = mapped(new Machine({ memory }), 0x1000, [0x8000]);
      machine.cpu(0).store(LINEAR + 4, 0x1234n, 2);
      expect(new DataView(memory).getUint16(0x8004, true)).toBe(0x1234);
      expect(new DataView(memory).getUint8(0x4000) & 0x60).toBe(0x60);
    }
  });

  test("must be a buffer of whole pages", () => {
    expect(() => new Machine({ memory: new ArrayBuffer(4095) })).toThrow("memory of 4095 bytes");
    const wrong = new Uint8Array(4096) as unknown as ArrayBuffer;
    expect(() => new Machine({ memory: wrong })).toThrow(TypeError);
    expect(() => new Machine({ memory: null as unknown as number })).toThrow("memory null: give bytes");
  });
});
