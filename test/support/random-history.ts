import { nextXorshift32 } from "../../arch/x86/cpu/xorshift32.ts";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type Cpu,
  type CpuModel,
  invlpgb,
  invpcid,
  Machine,
  type MachineOptions,
  type Outcome,
  OutcomeOracle,
  permits,
  tlbsync,
} from "../../src/package/cpu.ts";

/** Indices used at each level: every table has two entries that matter. */
const INDICES = [1, 2] as const;
/** Frames that serve as tables of any level, the first two as roots: small enough for them to share and to loop. */
const TABLES = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17] as const;
const DATA = [0x20, 0x21, 0x22, 0x23] as const;
const KINDS = [ACCESS_READ, ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE, ACCESS_FETCH] as const;
const PCIDS = 3;

/** A few ways to draw. */
export class Draw {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  below(n: number): number {
    this.#state = nextXorshift32(this.#state);
    return (this.#state >>> 0) % n;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

export interface Tally {
  steps: number;
  accesses: number;
  faults: number;
  /** Accesses whose result memory does not explain. */
  stale: number;
  /** The first accesses whose result the oracle does not allow, in words. */
  forbidden: string[];
}

/**
 * A random history on two CPUs: accesses, entry changes, every kind of invalidation, context switches and control bits,
 * over tables so few that they are shared, stale and sometimes their own parents. Before each access the oracle says what
 * is allowed.
 */
export class RandomHistory {
  readonly machine: Machine;
  readonly #oracle: OutcomeOracle;
  readonly #draw: Draw;
  readonly #pages: number[] = [];
  readonly tally: Tally = { steps: 0, accesses: 0, faults: 0, stale: 0, forbidden: [] };

  constructor(model: CpuModel, caches: Partial<MachineOptions>, seed: number) {
    this.machine = new Machine({ memory: "1MiB", cpus: 2, model, ...caches });
    this.#draw = new Draw(seed);
    // With five levels, bits 56:48 take the first index.
    const top = caches.levels === 5 ? INDICES[0] * 2 ** 48 : 0;
    for (let i = 0; i < 16; i += 3) {
      const index = (level: number) => INDICES[(i >> level) & 1]!;
      this.#pages.push(
        top + index(3) * 2 ** 39 + index(2) * 2 ** 30 + index(1) * 2 ** 21 + index(0) * 2 ** 12,
      );
    }
    this.#oracle = new OutcomeOracle(this.machine, { pages: this.#pages });
    this.machine.records.listen(this.#oracle.observe, this.#oracle.isTable);
    for (const frame of TABLES) for (const index of INDICES) this.#writeEntry(frame, index);
    for (const cpu of this.machine.cpus) {
      cpu.setControl({ pcide: model.pcid });
      cpu.loadCr3(TABLES[0] * 4096);
    }
  }

  run(steps: number): Tally {
    for (let i = 0; i < steps; i++) this.#step();
    this.tally.steps += steps;
    return this.tally;
  }

  #step(): void {
    const draw = this.#draw;
    const cpu = this.machine.cpu(draw.below(2));
    const what = draw.below(100);
    if (what < 64) this.#access(cpu);
    else if (what < 84) this.#writeEntry(draw.of(TABLES), draw.of(INDICES));
    else if (what < 89) cpu.invlpg(draw.of(this.#pages));
    else if (what < 93) this.#loadCr3(cpu);
    else if (what < 97) this.#invalidate(cpu);
    else this.#control(cpu);
  }

  #access(cpu: Cpu): void {
    const draw = this.#draw;
    const { tally } = this;
    const kind = draw.of(KINDS);
    const address = draw.of(this.#pages) + 8 * draw.below(512);
    const lo = address | 0;
    const hi = (address / 2 ** 32) | 0;
    cpu.cpl = draw.chance(50) ? 3 : 0;
    cpu.ac = draw.chance(30);
    const allowed = this.#oracle.allowed(cpu.id, kind, lo, hi);
    const physical = cpu.translate(kind, lo, hi);
    const result = physical < 0 ? { errorCode: cpu.fault?.errorCode ?? -1 } : { physical };
    tally.accesses++;
    if (physical < 0) tally.faults++;
    if (!permits(allowed, result)) this.#forbid(kind, address, result, allowed);
    else if (!permits([allowed[0]!], result)) tally.stale++;
    cpu.cpl = 0;
  }

  #forbid(kind: number, address: number, result: object, allowed: readonly Outcome[]): void {
    const { forbidden, accesses } = this.tally;
    if (forbidden.length >= 5) return;
    forbidden.push(
      `access ${accesses}, kind ${kind} at 0x${address.toString(16)}: ${JSON.stringify(result)}, allowed ${JSON.stringify(allowed)}`,
    );
  }

  #writeEntry(frame: number, index: number): void {
    const draw = this.#draw;
    let lo = 0;
    for (const [bit, percent] of [
      [0, 96],
      [1, 85],
      [2, 85],
      [5, 50],
      [6, 50],
      [8, 25],
    ] as const) {
      if (draw.chance(percent)) lo |= 1 << bit;
    }
    // A large page needs an aligned address; in a page table bit 7 is PAT and does no harm.
    if (draw.chance(12)) lo |= draw.of([0x80, 0x4000_0080]);
    else lo |= draw.of(draw.chance(96) ? TABLES : DATA) << 12;
    let hi = 0;
    if (draw.chance(4)) hi |= 1 << 31;
    if (draw.chance(20)) hi |= 1 << 27;
    if (draw.chance(1)) hi |= 1 << 19;
    this.machine.storeEntry(frame * 4096 + index * 8, lo, hi, null);
  }

  #loadCr3(cpu: Cpu): void {
    const draw = this.#draw;
    const root = draw.of(TABLES.slice(0, 2)) * 4096;
    if (cpu.control.pcide) cpu.loadCr3(root, draw.below(PCIDS), draw.chance(60));
    else cpu.loadCr3(root);
  }

  #invalidate(cpu: Cpu): void {
    const draw = this.#draw;
    const pcid = cpu.control.pcide ? draw.below(PCIDS) : 0;
    const address = draw.of(this.#pages);
    if (cpu.control.model.invlpgbPages === null || draw.chance(50)) {
      // The flushes of everything come last in the draw and seldom, so that something stays to be stale.
      invpcid(cpu, draw.of([0, 0, 0, 0, 1, 1, 3, 2]), pcid, address);
      return;
    }
    invlpgb(cpu, {
      ...(draw.chance(90) ? { address } : {}),
      ...(draw.chance(80) ? { pcid } : {}),
      includeGlobals: draw.chance(50),
      finalOnly: draw.chance(50),
      extraPages: draw.below(3),
      stride: draw.of(["4K", "2M"] as const),
    });
    if (draw.chance(60)) tlbsync(cpu);
  }

  #control(cpu: Cpu): void {
    const draw = this.#draw;
    const { control } = cpu;
    const name = draw.of(["wp", "wp", "smap", "smep", "nxe", "pge", "pke", "tce", "pkru"] as const);
    cpu.setControl(name === "pkru" ? { pkru: draw.below(16) } : { [name]: !control[name] });
  }
}
