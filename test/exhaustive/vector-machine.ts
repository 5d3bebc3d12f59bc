import {
  type AccessResult,
  type Cpu,
  type CpuModel,
  cpuModel,
  linearHi,
  linearLo,
  Machine,
} from "../../src/package/cpu.ts";
import type { AccessVector } from "./vector-file.ts";

/** Ends of the data that vectors reach: below 4 GiB, and with the frames above that `random-himem` uses. */
const LOW_END = 0x4820_0000;
const HIGH_END = 0x1_0820_0000;
const STORED = 0x5a5a_c3c3_a5a5_3c3cn;
const VECTOR_OF = { "#PF": 14, "#GP": 13, "#SS": 12, "#UD": 6 } as const;

/**
 * Runs single accesses on one kind of CPU. Machines are made once for each combination of what a vector enumerates, and
 * memory is zero between vectors: the tags that the data frames had in the recording matter to none of the comparisons.
 */
export class VectorMachine {
  readonly #base: CpuModel;
  readonly #machines = new Map<string, Machine>();

  constructor(model: string) {
    this.#base = cpuModel(model);
  }

  /** Null when everything is as `expect` says, else what is not. */
  difference(vector: AccessVector): string | null {
    const machine = this.#machineFor(vector);
    const cpu = machine.cpu(0);
    const { memory } = machine;
    const { tables, mem = [], expect } = vector;
    const touched: number[] = [];
    for (const { pa, value } of [...tables, ...mem]) {
      touched.push(Number(pa));
      memory.write(Number(pa), lowWord(value), highWord(value));
    }
    setRegisters(cpu, vector);
    const pages: number[] = [];
    const stop = crossesPage(vector)
      ? machine.records.listen((record) => {
          if (record.kind === "access") pages.push(record.physical);
        })
      : null;
    const result = access(cpu, vector);
    stop?.();
    const entries = tables.map(({ pa }) => [memory.readLo(Number(pa)), memory.readHi(Number(pa))] as const);
    if (result.ok) {
      for (const pa of [result.physical, ...pages]) touched.push(pa - (pa % 8), pa - (pa % 8) + 8);
    }
    for (const pa of touched) memory.write(pa, 0, 0);
    return outcomeDifference(result, pages, expect) ?? entryDifference(entries, vector);
  }

  #machineFor({ maxphyaddr, page1gb, cr4, group }: AccessVector): Machine {
    const high = group === "random-himem";
    const key = `${maxphyaddr} ${page1gb} ${cr4.la57} ${high}`;
    let machine = this.#machines.get(key);
    if (machine === undefined) {
      const gbPages = page1gb !== 0;
      const model = { ...this.#base, maxPhyAddr: maxphyaddr, gbPages };
      const levels = cr4.la57 === 1 ? 5 : 4;
      machine = new Machine({ memory: high ? HIGH_END : LOW_END, model, levels, tlb: "none" });
      this.#machines.set(key, machine);
    }
    return machine;
  }
}

/** CR3 comes last: PCIDE can be set only over zeros in CR3[11:0]. */
function setRegisters(cpu: Cpu, { cr0wp, cr4, efer_nxe, ac, cpl, pkru, pkrs, cr3 }: AccessVector): void {
  cpu.cpl = 0;
  cpu.movCr3(0n);
  const result = cpu.setControl({
    wp: cr0wp === 1,
    nxe: efer_nxe === 1,
    pge: cr4.pge === 1,
    pcide: cr4.pcide === 1,
    smep: cr4.smep === 1,
    smap: cr4.smap === 1,
    pke: cr4.pke === 1,
    pks: cr4.pks === 1,
    pkru: Number(pkru),
    pkrs: Number(pkrs ?? 0),
  });
  const loaded = cpu.movCr3(BigInt(cr3));
  if (!result.ok || !loaded.ok) throw new TypeError("a vector's registers are refused");
  cpu.cpl = cpl;
  cpu.ac = ac === 1;
}

function access(cpu: Cpu, { access: kind, la, size, seg, insn }: AccessVector): AccessResult {
  const address = BigInt(la);
  const segment = seg === "ss" ? "stack" : "data";
  const data = BigInt.asUintN(8 * size, STORED);
  switch (kind) {
    case "read":
      return cpu.load(address, size, segment);
    case "write":
      return cpu.store(address, data, size, segment);
    case "rmw":
      return cpu.readModifyWrite(
        address,
        (old) => (insn === "lock cmpxchg" ? old : old + data),
        size,
        segment,
      );
    case "fetch":
      return cpu.fetch(address, 1);
    case "implicit_read":
      return cpu.loadImplicit(address, size);
    case "segload": {
      const loaded = cpu.loadImplicit(address, size);
      if (!loaded.ok) return loaded;
      // The accessed bit of a segment descriptor, bit 40.
      const type = (loaded.value >> 40n) & 0xffn;
      const stored = cpu.storeImplicit(address + 5n, type | 1n, 1);
      return stored.ok ? loaded : stored;
    }
  }
}

function crossesPage({ la, size, expect }: AccessVector): boolean {
  return expect.pa2 !== undefined || (lowWord(la) & 0xfff) + size > 4096;
}

function outcomeDifference(
  result: AccessResult,
  pages: readonly number[],
  { fault, pa, pa2 }: AccessVector["expect"],
): string | null {
  if (result.ok) {
    if (fault !== null) return `done, not vector ${fault.vector} error ${fault.error}`;
    if (result.physical !== Number(pa)) return `at 0x${result.physical.toString(16)}, not ${pa}`;
    return pa2 === undefined || pages[1] === Number(pa2) ? null : `second page at ${pages[1]}, not ${pa2}`;
  }
  const { kind, errorCode, lo, hi } = result.fault;
  const got = `${kind} error ${errorCode}`;
  if (fault === null) return `${got}, not ${pa}`;
  if (VECTOR_OF[kind] !== fault.vector || errorCode !== fault.error) {
    return `${got}, not vector ${fault.vector} error ${fault.error}`;
  }
  if (fault.vector !== 14) return null;
  const cr2 = BigInt(fault.cr2 ?? 0);
  return lo === linearLo(cr2) && hi === linearHi(cr2) ? null : `CR2 ${result.fault.address}, not ${cr2}`;
}

function entryDifference(
  entries: readonly (readonly [number, number])[],
  { tables, expect: { after, after_ignore } }: AccessVector,
): string | null {
  for (const [i, [lo, hi]] of entries.entries()) {
    const wanted = after[i]!;
    const ignore = after_ignore?.[i] ?? "0x0";
    if (((lo ^ lowWord(wanted)) & ~lowWord(ignore)) !== 0 || hi !== highWord(wanted)) {
      const got = `${(hi >>> 0).toString(16)}.${(lo >>> 0).toString(16)}`;
      return `entry of level ${tables[i]?.level} is ${got}, not ${wanted} (ignoring ${ignore})`;
    }
  }
  return null;
}

/** Words of a hexadecimal number with 0x in front. */
function lowWord(hex: string): number {
  return Number.parseInt(hex.length > 10 ? hex.slice(-8) : hex.slice(2), 16) | 0;
}

function highWord(hex: string): number {
  return hex.length > 10 ? Number.parseInt(hex.slice(2, -8), 16) | 0 : 0;
}
