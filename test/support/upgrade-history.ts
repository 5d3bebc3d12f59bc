import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type Cpu,
  type CpuModel,
  type HardwareRecord,
  invlpgb,
  invpcid,
  linearBigInt,
  Machine,
  type MachineOptions,
  OutcomeOracle,
  permits,
  tlbsync,
} from "../../src/package/cpu.ts";
import { type HistoryAccess, HistoryOracle } from "./history-oracle.ts";
import { Draw } from "./random-history.ts";

const INDICES = [1, 2] as const;
/** Tables of any level, the first two as roots. */
const TABLES = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15] as const;
const DATA = [0x20, 0x21, 0x22, 0x23] as const;
const KINDS = ["read", "write", "write", "fetch"] as const;
const KIND_NUMBERS = { read: ACCESS_READ, write: ACCESS_WRITE, fetch: ACCESS_FETCH } as const;
const PCIDS = 3;
const XD = 1n << 63n;
const FRAME = 0xf_ffff_f000n;

/** What a history came to. */
export interface UpgradeTally {
  steps: number;
  accesses: number;
  /** Changes of an entry that take no right away. */
  upgrades: number;
  faults: number;
  /** Page faults, and other results, that memory does not explain. */
  spurious: number;
  stale: number;
  /** Accesses that an oracle does not allow, and those where the two oracles' sets differ, in words; the first few. */
  forbidden: string[];
}

/**
 * A random history on two CPUs in which half of the entry changes are upgrades: rights raised, entries made present,
 * tables replaced. Both oracles, that of arch/x86/oracle and {@link HistoryOracle}, say before each access what is
 * allowed.
 */
export class UpgradeHistory {
  readonly machine: Machine;
  readonly #first: OutcomeOracle;
  readonly #second: HistoryOracle;
  readonly #draw: Draw;
  readonly #pages: readonly number[];
  readonly tally: UpgradeTally = {
    steps: 0,
    accesses: 0,
    upgrades: 0,
    faults: 0,
    spurious: 0,
    stale: 0,
    forbidden: [],
  };

  constructor(model: CpuModel, caches: Partial<MachineOptions>, seed: number) {
    this.machine = new Machine({ memory: "1MiB", cpus: 2, model, ...caches });
    this.#draw = new Draw(seed);
    this.#pages = [0, 6, 9, 15].map((i) => {
      const index = (level: number) => INDICES[(i >> level) & 1]!;
      return index(3) * 2 ** 39 + index(2) * 2 ** 30 + index(1) * 2 ** 21 + index(0) * 2 ** 12;
    });
    this.#first = new OutcomeOracle(this.machine, { pages: this.#pages });
    this.#second = new HistoryOracle({
      vendor: model.vendor,
      cpus: 2,
      maxphyaddr: model.maxPhyAddr,
      memoryBytes: BigInt(this.machine.memory.size),
      pages: this.#pages.map(BigInt),
    });
    this.machine.records.listen(this.#first.observe);
    this.machine.records.listen((record) => this.#tell(record));
    for (const frame of TABLES) for (const index of INDICES) this.#rewrite(frame, index);
    for (const cpu of this.machine.cpus) {
      this.#setControl(cpu, { pcide: model.pcid });
      this.#loadCr3(cpu);
    }
  }

  run(steps: number): UpgradeTally {
    for (let i = 0; i < steps; i++) this.#step();
    this.tally.steps += steps;
    return this.tally;
  }

  /** What the second oracle learns from records: stores, and that a fault dropped what was cached. */
  #tell(record: HardwareRecord): void {
    if (record.kind === "entry-written" || record.kind === "accessed-dirty-set") {
      this.#second.wrote(BigInt(record.slot), linearBigInt(record.entryLo, record.entryHi));
    } else if (record.kind === "invalidated" && record.cause === "#PF") {
      this.#second.faulted(record.cpu, linearBigInt(record.linearLo, record.linearHi));
    }
  }

  #step(): void {
    const draw = this.#draw;
    const cpu = this.machine.cpu(draw.below(2));
    const what = draw.below(100);
    if (what < 62) this.#access(cpu);
    else if (what < 76) this.#upgrade(draw.of(TABLES), draw.of(INDICES));
    else if (what < 85) this.#rewrite(draw.of(TABLES), draw.of(INDICES));
    else if (what < 89) this.#invlpg(cpu);
    else if (what < 93) this.#loadCr3(cpu);
    else if (what < 97) this.#invalidate(cpu);
    else this.#control(cpu);
  }

  #access(cpu: Cpu): void {
    const draw = this.#draw;
    const { tally } = this;
    const address = draw.of(this.#pages) + 8 * draw.below(512);
    const access: HistoryAccess = {
      la: BigInt(address),
      kind: draw.of(KINDS),
      user: draw.chance(50),
      ac: draw.chance(30),
    };
    const kind = KIND_NUMBERS[access.kind];
    const lo = address | 0;
    const hi = (address / 2 ** 32) | 0;
    cpu.cpl = access.user ? 3 : 0;
    cpu.ac = access.ac;
    const first = this.#first.allowed(cpu.id, kind, lo, hi);
    const second = this.#second.allowed(cpu.id, access);
    const fresh = this.#second.fresh(cpu.id, access);
    const physical = cpu.translate(kind, lo, hi);
    const errorCode = cpu.fault?.errorCode ?? -1;
    const end = physical < 0 ? `pf 0x${errorCode.toString(16)}` : `pa 0x${physical.toString(16)}`;
    tally.accesses++;
    if (physical < 0) tally.faults++;
    if (end !== fresh) tally.stale++;
    if (end !== fresh && physical < 0) tally.spurious++;
    const allowed = permits(first, physical < 0 ? { errorCode } : { physical }) && second.has(end);
    if (!allowed || first.length !== second.size) this.#forbid(access, end, first, second);
    cpu.cpl = 0;
  }

  #forbid(access: HistoryAccess, end: string, first: readonly object[], second: ReadonlySet<string>): void {
    const { forbidden, accesses } = this.tally;
    if (forbidden.length >= 5) return;
    const { la, kind, user } = access;
    forbidden.push(
      `access ${accesses}, ${user ? "user" : "supervisor"} ${kind} at 0x${la.toString(16)}: ${end}, allowed ${JSON.stringify(first)} and ${[...second].join(", ")}`,
    );
  }

  /** A change that takes nothing away: a right, P, or another table or page behind the entry with all rights. */
  #upgrade(frame: number, index: number): void {
    const draw = this.#draw;
    const slot = frame * 4096 + index * 8;
    let value = this.machine.memory.read(slot).toBigInt();
    switch (draw.below(6)) {
      case 0:
        value |= 2n;
        break;
      case 1:
        value |= 4n;
        break;
      case 2:
        value &= ~XD;
        break;
      case 3:
        value |= 1n;
        break;
      case 4:
        value |= 7n;
        break;
      default:
        value = (value & ~(FRAME | XD | 0x80n)) | 7n | (BigInt(draw.of(TABLES)) << 12n);
    }
    this.tally.upgrades++;
    this.#store(slot, value);
  }

  /** Any entry; a fifth are not present, so that there is something to make present. */
  #rewrite(frame: number, index: number): void {
    const draw = this.#draw;
    let value = 0n;
    for (const [bit, percent] of [
      [0, 80],
      [1, 65],
      [2, 65],
      [5, 50],
      [6, 50],
      [8, 20],
      [59, 20],
      [63, 20],
      [51, 1],
    ] as const) {
      if (draw.chance(percent)) value |= 1n << BigInt(bit);
    }
    if (draw.chance(12)) value |= BigInt(draw.of([0x80, 0x4000_0080]));
    else value |= BigInt(draw.of(draw.chance(90) ? TABLES : DATA)) << 12n;
    this.#store(frame * 4096 + index * 8, value);
  }

  #store(slot: number, value: bigint): void {
    this.machine.storeEntry(slot, Number(BigInt.asIntN(32, value)), Number(value >> 32n) | 0, null);
  }

  #invlpg(cpu: Cpu): void {
    const address = this.#draw.of(this.#pages);
    cpu.invlpg(address);
    this.#second.invlpg(cpu.id, BigInt(address));
  }

  #loadCr3(cpu: Cpu): void {
    const draw = this.#draw;
    const root = draw.of(TABLES.slice(0, 2)) * 4096;
    const { pcide } = cpu.control;
    const pcid = pcide ? draw.below(PCIDS) : 0;
    const keep = pcide && draw.chance(60);
    cpu.loadCr3(root, pcid, keep);
    this.#second.movCr3(cpu.id, BigInt(root), pcid, keep);
  }

  #invalidate(cpu: Cpu): void {
    const draw = this.#draw;
    const { model, pcide } = cpu.control;
    const pcid = pcide ? draw.below(PCIDS) : 0;
    const address = draw.of(this.#pages);
    if (model.invlpgbPages === null || draw.chance(50)) {
      const type = draw.of([0, 0, 0, 0, 1, 1, 3, 2]);
      if (invpcid(cpu, type, pcid, address).ok) this.#second.invpcid(cpu.id, type, pcid, BigInt(address));
      return;
    }
    const one = draw.chance(90);
    const context = draw.chance(80);
    const extraPages = draw.below(3);
    const stride = draw.of(["4K", "2M"] as const);
    const globals = draw.chance(50);
    const finalOnly = draw.chance(50);
    const named = { ...(one ? { address } : {}), ...(context ? { pcid } : {}), extraPages, stride };
    invlpgb(cpu, { ...named, includeGlobals: globals, finalOnly });
    const step = stride === "2M" ? 0x20_0000n : 0x1000n;
    const pages = Array.from({ length: extraPages + 1 }, (_, i) => BigInt(address) + BigInt(i) * step);
    const what = { ...(one ? { pages } : {}), ...(context ? { pcid } : {}), globals, finalOnly };
    this.#second.invlpgb(cpu.id, what);
    if (!draw.chance(60)) return;
    tlbsync(cpu);
    this.#second.tlbsync(cpu.id);
  }

  #control(cpu: Cpu): void {
    const draw = this.#draw;
    const { control } = cpu;
    const names = ["wp", "wp", "smap", "smep", "nxe", "pge", "pke", "pse", "tce", "pcide", "pkru"] as const;
    const name = draw.of(names);
    this.#setControl(cpu, name === "pkru" ? { pkru: draw.below(16) } : { [name]: !control[name] });
  }

  /** A write that faults changes nothing: the model lacks the bit, or PCIDE is set over a PCID. */
  #setControl(cpu: Cpu, changes: Parameters<Cpu["setControl"]>[0]): void {
    if (!cpu.setControl(changes).ok) return;
    const { wp, nxe, pge, pse, pcide, smep, smap, pke, tce, pkru } = cpu.control;
    this.#second.control(cpu.id, { wp, nxe, pge, pse, pcide, smep, smap, pke, tce, pkru });
  }
}

/** AMD and Intel CPUs, with the caches that keep everything and with real shapes. */
export const UPGRADE_RUNS: readonly (readonly [string, Partial<MachineOptions>])[] = [
  ["amd-zen4", { tlb: "stale", pagingStructureCaches: true }],
  ["amd-zen3", { tlb: "stale" }],
  ["amd-zen5", { tlb: "amd-zen5", pagingStructureCaches: true, fractureLargePages: true }],
  ["intel-sapphire-rapids", { tlb: "stale", pagingStructureCaches: true }],
  ["intel-skylake-sp", { tlb: "stale", fractureLargePages: true }],
  [
    "intel-icelake-client",
    { tlb: "intel-icelake-client", pagingStructureCaches: true, replacement: "random" },
  ],
];
