import { Machine, type MachineOptions } from "../../../arch/x86/cpu/machine.ts";
import type { Auditor } from "../../../src/audit/auditor.ts";
import type { Random } from "../../../src/sim/random.ts";

/*
 * A machine without a kernel, driven at random: tables below frame 0x100, pages from 0x200 on. Tables that hang nowhere are
 * filled behind everybody's back, as a loader does it; those in use are changed by Machine.storeEntry only.
 *
 *   frames 1..3   roots      4..59   tables, each of a level of its own, n % 3 + 1
 *
 * Above frame 30 are the kernel's tables, unless both halves share all of them.
 */

const ROOTS = [1, 2, 3] as const;
const FIRST_TABLE = 4;
const FIRST_OF_KERNEL = 31;
const TABLES = 60;
const KERNEL_INDEX = 300;
const FIRST_PAGE = 0x200;
const PAGES = 64;
/** Entries that are used of each table: two of the user's half, and of the root one of the kernel's. */
const INDEXES = [0, 5];
const FLAGS = [0x7, 0x67, 0x27, 0x63, 0x167, 0x5, 0x25];
const POINTER = 0x67;

const levelOf = (table: number): number => (table < FIRST_TABLE ? 4 : 1 + (table % 3));

export class BareMachine {
  readonly machine: Machine;
  /** Asked at each free; may be set later. */
  auditor: Auditor | null = null;
  readonly #random: Random;
  readonly #sharesTables: boolean;

  constructor(random: Random, options: Partial<MachineOptions> & { readonly sharesTables?: boolean } = {}) {
    this.#random = random;
    this.#sharesTables = options.sharesTables ?? true;
    this.machine = new Machine({ memory: "4MiB", cpus: 2, ...options });
    for (const cpu of this.machine.cpus) cpu.setControl({ pcide: true });
    for (let table: number = 1; table < TABLES; table++) this.#fill(table);
    for (const cpu of this.machine.cpus) cpu.loadCr3(0x1000, 1);
  }

  /** Does one thing. */
  step(): void {
    const random = this.#random;
    const cpu = random.below(2);
    switch (random.below(10)) {
      case 0:
        this.#linkFresh(cpu);
        return;
      case 1:
        this.#control(cpu);
        return;
      case 2:
        this.#loadRoot(cpu);
        return;
      case 3:
        this.#free();
        return;
      case 4:
        this.machine.cpu(cpu).invlpg(this.#address());
        return;
      case 5:
      case 6:
        this.machine.cpu(cpu).touch(this.#address(), random.oneIn(2));
        return;
      default: {
        this.#store(cpu, this.#slot(this.#table()));
      }
    }
  }

  #table(): number {
    return 1 + this.#random.below(TABLES - 1);
  }

  #indexes(table: number): readonly number[] {
    return levelOf(table) === 4 ? [...INDEXES, KERNEL_INDEX] : INDEXES;
  }

  #slot(table: number): number {
    const indexes = this.#indexes(table);
    return table * 4096 + 8 * indexes[this.#random.below(indexes.length)]!;
  }

  /** An entry for a slot: a leaf, a pointer to a table of the level below, or nothing. */
  #entry(slot: number): number {
    const random = this.#random;
    if (random.oneIn(4)) return 0;
    if (levelOf(slot >>> 12) === 1) {
      return (FIRST_PAGE + random.below(PAGES)) * 4096 + FLAGS[random.below(FLAGS.length)]!;
    }
    return this.#below(slot) * 4096 + POINTER - (random.oneIn(5) ? 2 : 0);
  }

  /** A table that the entry at a slot may lead to. */
  #below(slot: number): number {
    const table = slot >>> 12;
    const level = levelOf(table) - 1;
    const ofKernel = level === 3 ? slot % 4096 === 8 * KERNEL_INDEX : table >= FIRST_OF_KERNEL;
    for (;;) {
      const child = FIRST_TABLE + this.#random.below(TABLES - FIRST_TABLE);
      if (levelOf(child) !== level) continue;
      if (this.#sharesTables || child >= FIRST_OF_KERNEL === ofKernel) return child;
    }
  }

  #store(cpu: number, slot: number): void {
    const entry = this.#entry(slot);
    const xd = (entry & 1) !== 0 && levelOf(slot >>> 12) === 1 && this.#random.oneIn(3) ? 0x8000_0000 : 0;
    this.machine.storeEntry(slot, entry, xd, this.#random.oneIn(6) ? null : cpu);
  }

  /** Fills a table behind everybody's back. */
  #fill(table: number): void {
    const { memory } = this.machine;
    memory.clear(table * 4096, 4096);
    for (const index of this.#indexes(table)) {
      const slot = table * 4096 + 8 * index;
      memory.write(slot, this.#entry(slot), 0);
    }
  }

  /** A table that hangs nowhere gets new content and is linked. */
  #linkFresh(cpu: number): void {
    const parent = this.#table();
    if (levelOf(parent) === 1) return;
    const slot = this.#slot(parent);
    const child = this.#below(slot);
    if (this.#isLinked(child)) return;
    this.#fill(child);
    this.machine.storeEntry(slot, child * 4096 + POINTER, 0, cpu);
  }

  /** Whether any table, used or not, leads to it. */
  #isLinked(child: number): boolean {
    const { memory } = this.machine;
    for (let slot = 0x1000; slot < TABLES * 4096; slot += 8) {
      if ((memory.readLo(slot) & 1) !== 0 && memory.readLo(slot) >>> 12 === child) return true;
    }
    return false;
  }

  /** One register at a time: a machine records those that it writes together one by one. */
  #control(cpu: number): void {
    const random = this.#random;
    const { control } = this.machine.cpu(cpu);
    const changes = [
      { pge: !control.pge },
      { smep: !control.smep },
      { wp: !control.wp },
      { pke: true, smap: !control.smap },
      { pkru: random.next() },
      { nxe: !control.nxe },
    ];
    this.machine.cpu(cpu).setControl(changes[random.below(changes.length)]!);
    if (random.oneIn(4)) this.machine.cpu(cpu).setPat(0x0007_0406_0007_0406n + BigInt(random.below(2)));
  }

  #loadRoot(cpu: number): void {
    const random = this.#random;
    const root = ROOTS[random.below(ROOTS.length)]! * 4096;
    this.machine.cpu(cpu).loadCr3(root, random.below(3), random.oneIn(2));
  }

  #free(): void {
    const random = this.#random;
    if (random.oneIn(3))
      this.auditor?.tableFreed((FIRST_TABLE + random.below(TABLES - FIRST_TABLE)) as never);
    else this.auditor?.pageFreed((FIRST_PAGE + random.below(PAGES)) as never);
  }

  #address(): number {
    const random = this.#random;
    let address = 0;
    for (const bytes of [2 ** 39, 2 ** 30, 2 ** 21, 2 ** 12])
      address += bytes * INDEXES[random.below(INDEXES.length)]!;
    return address;
  }
}
