import { PAGE_SIZE, Pfn } from "../../arch/x86/cpu/address.ts";
import { ControlRegisters } from "../../arch/x86/cpu/control-registers.ts";
import type { Cpu } from "../../arch/x86/cpu/cpu.ts";
import { type InvlpgbRequest, invlpgb, invpcid, tlbsync } from "../../arch/x86/cpu/invalidation.ts";
import { recordedScope } from "../../arch/x86/cpu/invalidation-scope.ts";
import type { Machine } from "../../arch/x86/cpu/machine.ts";
import type { HardwareRecord } from "../../arch/x86/cpu/records.ts";
import { type CachedLeaf, type Change, PageHistory } from "../../arch/x86/oracle/page-history.ts";
import { Auditor } from "../../src/audit/auditor.ts";
import { Random } from "../../src/sim/random.ts";
import { BareSystem, GLOBAL, KERNEL_BASE, words } from "./bare-system.ts";

const HUGE = 0x80;
const CPUS = 2;
const PCIDS = 3;
/** Two entries of each table of every level: whatever the tables lead to is among the pages, some of them the kernel's. */
const PAGES = [0, KERNEL_BASE].flatMap((half) =>
  [0x40_0000, 0x60_0000, 0x4040_0000, 0x4060_0000].flatMap((base) => [half + base, half + base + 0x1000]),
);
const USER_PAGES = PAGES.filter((page) => page < KERNEL_BASE);
/** Frames that leaves map: nothing is ever read there, so they need no memory. */
const SMALL = [0x1_0000, 0x1_0001, 0x1_0002];
const LARGE = [0x1_0200, 0x1_0400];
const HUGE_PAGE = 0x4_0000;

const PAGE_FRAMES = [
  ...[...SMALL, ...SMALL, ...SMALL, ...SMALL, ...SMALL],
  ...USER_PAGES.flatMap((page) => [
    ...LARGE.map((first) => first + ((page / PAGE_SIZE) % 512)),
    HUGE_PAGE + ((page / PAGE_SIZE) % 512 ** 2),
  ]),
];

/** Takes nothing from what waits. */
const NO_CHANGE: ReadonlySet<Op["do"]> = new Set(["free page", "free table", "touch"]);

/** One thing that happens, as data. */
export type Op = { readonly cpu: number } & (
  | { readonly do: "store"; readonly slot: number; readonly lo: number }
  | { readonly do: "free page" | "free table"; readonly pfn: number }
  | { readonly do: "touch"; readonly page: number; readonly write: boolean }
  | { readonly do: "INVLPG"; readonly page: number }
  | { readonly do: "INVPCID"; readonly type: number; readonly pcid: number; readonly page: number }
  | {
      readonly do: "INVLPGB";
      readonly page: number | null;
      readonly request: Omit<InvlpgbRequest, "address">;
    }
  | { readonly do: "load"; readonly root: number; readonly pcid: number; readonly keep: boolean }
  | { readonly do: "pge" }
);
type OpOf<K extends Op["do"]> = Extract<Op, { readonly do: K }>;

/** What was freed and waits for a PCID to be loaded again: it must be found then, or may. */
type Wait = "must" | "may";

const pfnOf = (leaf: CachedLeaf, page: number): number => {
  const first = (leaf.hi * 2 ** 20 + (leaf.lo >>> 12)) | 0;
  return first + ((page / PAGE_SIZE) % 512 ** (leaf.level - 1));
};

/** Runs many short histories; the first in which auditor and oracle differ is told with its seed and all that was done. */
export function compareHistories(models: readonly string[], from: number, histories: number, steps: number) {
  const total = { freed: 0, usable: 0, waiting: 0, found: 0, foundLater: 0 };
  for (let i = 0; i < histories; i++) {
    const model = models[i % models.length]!;
    const history = new LedgerHistory(from + i, model);
    const ops: Op[] = [];
    while (ops.length < steps && history.wrong.length === 0) ops.push(history.step());
    if (history.wrong.length > 0) {
      const done = ops.map((op) => JSON.stringify(op)).join("\n");
      throw new Error(`${model}, seed ${from + i}, step ${ops.length}: ${history.wrong.join("; ")}\n${done}`);
    }
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += history.tally[key];
  }
  return total;
}

/**
 * Random histories of a machine with tables of every level, judged at each free by an auditor and by the oracle's
 * histories of its pages, which know nothing of each other.
 */
export class LedgerHistory {
  readonly wrong: string[] = [];
  readonly tally = { freed: 0, usable: 0, waiting: 0, found: 0, foundLater: 0 };
  readonly #system: BareSystem;
  readonly #machine: Machine;
  readonly #auditor: Auditor;
  readonly #random: Random;
  readonly #roots: readonly number[];
  /** By the level of their entries. */
  readonly #tables: readonly (readonly Pfn[])[];
  readonly #histories: readonly PageHistory[];
  /** By CPU and PCID: what waits, by frame and page, or by table. */
  readonly #waits = new Map<string, Map<string, Wait>>();
  /** By CPU: roots that it has loaded. */
  readonly #loaded: readonly Set<number>[] = [new Set(), new Set()];

  constructor(seed: number, model: string) {
    this.#random = new Random(seed);
    this.#system = new BareSystem({ cpus: CPUS, model });
    this.#machine = this.#system.machine;
    this.#roots = [this.#system.root(), this.#system.root(), this.#system.root()];
    const frames = (count: number) => Array.from({ length: count }, () => this.#system.frame());
    this.#tables = [[], frames(3), frames(3), frames(2)];
    for (const cpu of this.#machine.cpus) {
      cpu.setControl({ pcide: true });
      this.#load(cpu, this.#roots[0]!, 0, false);
    }
    this.#histories = this.#observe();
    this.#auditor = new Auditor(this.#machine);
  }

  #observe(): PageHistory[] {
    const { memory, model, cpus, records } = this.#machine;
    const control = new ControlRegisters(model, 4);
    control.set({ nxe: true });
    const viewOf = ({ control: now }: Cpu) => {
      const { rootLo, rootHi, pcid, globals } = now;
      return { rootLo, rootHi, pcid, nxe: true, globals };
    };
    const silicon = { memory, levels: 4 as const, rules: () => control };
    const histories = PAGES.map((page) => new PageHistory(silicon, cpus.map(viewOf), ...words(page)));
    records.listen((record: HardwareRecord) => {
      let change: Change;
      if (record.kind === "entry-written" || record.kind === "accessed-dirty-set") {
        const { slot: address, oldLo, oldHi, entryLo: lo, entryHi: hi } = record;
        change = { type: "write", address, oldLo, oldHi, lo, hi };
      } else if (record.kind === "invalidated") {
        change = { type: "drop", cpu: record.cpu, scope: recordedScope(record) };
      } else if (record.kind === "cr3-loaded" || record.kind === "register-loaded") {
        const drops = record.kind === "cr3-loaded" && !record.keep;
        change = { type: "view", cpu: record.cpu, view: viewOf(this.#machine.cpu(record.cpu)), drops };
      } else return;
      for (const history of histories) history.apply(change);
    });
    return histories;
  }

  /** Does something at random. Returns what. */
  step(): Op {
    const op = this.#draw();
    this.apply(op);
    return op;
  }

  apply(op: Op): void {
    const cpu = this.#machine.cpu(op.cpu);
    switch (op.do) {
      case "store":
        this.#machine.storeEntry(op.slot, op.lo, 0, null);
        this.#forgive(op.lo);
        break;
      case "free page":
        this.#judge(`G1 ${op.pfn}`, op.pfn, () => this.#auditor.pageFreed(Pfn.of(op.pfn)));
        break;
      case "free table":
        this.#judge(`G2 ${op.pfn}`, op.pfn, () => this.#auditor.tableFreed(Pfn.of(op.pfn)));
        break;
      case "touch":
        cpu.touch(op.page, op.write);
        break;
      case "INVLPG":
        cpu.invlpg(BigInt(op.page));
        break;
      case "INVPCID":
        invpcid(cpu, op.type, op.pcid, BigInt(op.page));
        break;
      case "INVLPGB":
        invlpgb(cpu, { ...op.request, ...(op.page === null ? {} : { address: BigInt(op.page) }) });
        tlbsync(cpu);
        break;
      case "load":
        this.#loadAny(cpu, op);
        break;
      default:
        cpu.setControl({ [op.do]: !cpu.control[op.do] });
    }
    if (!NO_CHANGE.has(op.do)) this.#age(op.do === "store" || op.do === "INVLPGB" ? null : op.cpu);
  }

  #draw(): Op {
    const cpu = this.#random.below(CPUS);
    const what = this.#random.below(100);
    if (what < 25) return this.#store(cpu, 1);
    if (what < 40) return this.#store(cpu, 2);
    if (what < 47) return this.#store(cpu, 3);
    if (what < 53) return this.#store(cpu, 4);
    if (what < 60) return { do: "free page", cpu, pfn: this.#of(PAGE_FRAMES) };
    if (what < 65) return { do: "free table", cpu, pfn: this.#of(this.#tables.flat()) };
    if (what < 70) return { do: "touch", cpu, page: this.#of(USER_PAGES), write: this.#random.oneIn(2) };
    if (what < 75) return { do: "INVLPG", cpu, page: this.#of(PAGES) };
    if (what < 85) return this.#invalidate(cpu);
    const pcid = this.#random.below(PCIDS);
    if (what < 97)
      return { do: "load", cpu, root: this.#of(this.#roots), pcid, keep: !this.#random.oneIn(4) };
    return { do: "pge", cpu };
  }

  #of<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]!;
  }

  /** Into an entry of any table of a level, linked or not: a leaf, a pointer, or nothing. */
  #store(cpu: number, level: number): Op {
    const tables = level === 4 ? this.#roots.map((root) => root / PAGE_SIZE) : this.#tables[level]!;
    const index = Math.floor(this.#of(PAGES) / 512 ** (level - 1) / PAGE_SIZE) % 512;
    const slot = this.#of(tables) * PAGE_SIZE + index * 8;
    const what = this.#random.below(8);
    let lo = 0;
    if (what > 2) {
      if (level === 1) lo = (this.#of(SMALL) << 12) | this.#leafFlags();
      else if (what === 3 && level < 4) lo = this.#large(level);
      else lo = (this.#of(this.#tables[level - 1]!) << 12) | (this.#random.oneIn(8) ? 0x65 : 0x67);
    }
    return { do: "store", cpu, slot, lo };
  }

  #large(level: number): number {
    return ((level === 2 ? this.#of(LARGE) : HUGE_PAGE) << 12) | HUGE | this.#leafFlags();
  }

  #leafFlags(): number {
    const global = this.#random.oneIn(4) ? GLOBAL : 0;
    return 0x25 | (this.#random.below(2) << 1) | (this.#random.below(2) << 6) | global;
  }

  #invalidate(cpu: number): Op {
    const pcid = this.#random.below(PCIDS);
    const page = this.#of(PAGES);
    if (this.#machine.model.invlpgbPages === null || this.#random.oneIn(2)) {
      return { do: "INVPCID", cpu, type: this.#of([0, 0, 0, 1, 1, 2, 3]), pcid, page };
    }
    const request = {
      ...(this.#random.oneIn(4) ? {} : { pcid }),
      includeGlobals: this.#random.oneIn(2),
      finalOnly: this.#random.oneIn(2),
    };
    return { do: "INVLPGB", cpu, page: this.#random.oneIn(4) ? null : page, request };
  }

  #load(cpu: Cpu, root: number, pcid: number, keep: boolean): void {
    this.#loaded[cpu.id]!.add(root);
    cpu.loadCr3(root, pcid, keep);
  }

  /** A load of a root; what waits for its PCID must be found. */
  #loadAny(cpu: Cpu, { root, pcid, keep }: OpOf<"load">): void {
    const key = `${cpu.id}/${pcid}`;
    const before = this.#auditor.findings.length;
    const isBack = pcid !== cpu.control.pcid;
    this.#load(cpu, root, pcid, keep);
    const found = new Set<string>();
    for (const { rule, pfn, moment } of this.#auditor.findings.slice(before)) {
      if ((rule.id === "G1" || rule.id === "G2") && moment.includes("freed")) found.add(`${rule.id} ${pfn}`);
    }
    const waits = this.#waits.get(key);
    this.#waits.delete(key);
    const must = new Set<string>();
    const may = new Set<string>();
    if (isBack && keep) {
      for (const [wait, how] of waits ?? []) (how === "must" ? must : may).add(wait.split(" at ")[0]!);
    }
    this.tally.foundLater += found.size;
    for (const each of must) if (!found.has(each)) this.#fail(`${each} is not found when ${key} is loaded`);
    for (const each of found) {
      if (!must.has(each) && !may.has(each)) this.#fail(`${each} is found when ${key} is loaded`);
    }
  }

  #fail(text: string): void {
    this.wrong.push(text);
  }

  /** Whether a CPU may use a frame now: as a page by a leaf, as a table by a walk. */
  #mayUse(cpu: number, pfn: number, isTable: boolean): boolean {
    return this.#histories.some((history, i) => {
      if (isTable) return history.starts(cpu).some(({ lo }) => lo >>> 12 === pfn);
      if (PAGES[i]! >= KERNEL_BASE) return false;
      return history.leaves(cpu).some((leaf) => pfnOf(leaf, PAGES[i]!) === pfn);
    });
  }

  /** What a PCID that is not loaded will be able to use: rule, frame, and the page that it is for. */
  #waiting(cpu: number, pcid: number, among: Map<string, Wait> | null = null): Set<string> {
    const all = new Set<string>();
    const places = new Set([...(among?.keys() ?? [])].map((wait) => wait.split(" ")[3]));
    const isAmong = (page: number, i: number): boolean =>
      among === null ||
      places.has(`${i}`) ||
      [1, 2, 3].some((level) => places.has(`${Math.floor(page / PAGE_SIZE / 512 ** level)}`));
    this.#histories.forEach((history, i) => {
      if (!isAmong(PAGES[i]!, i)) return;
      const { leaves, tables } = history.waiting(cpu, pcid);
      for (const { lo, level } of tables)
        all.add(`G2 ${lo >>> 12} at ${Math.floor(PAGES[i]! / PAGE_SIZE / 512 ** level)}`);
      if (PAGES[i]! >= KERNEL_BASE) return;
      for (const leaf of leaves) {
        all.add(`G1 ${pfnOf(leaf, PAGES[i]!)} at ${i}${leaf.global ? " global" : ""}`);
      }
    });
    return all;
  }

  #judge(what: string, pfn: number, free: () => void): void {
    const before = this.#auditor.findings.length;
    free();
    this.tally.freed++;
    const rule = what.slice(0, 2);
    const found = new Set<string>();
    for (const finding of this.#auditor.findings.slice(before)) {
      if (finding.rule.id === rule) for (const agent of finding.agents) found.add(agent);
    }
    for (const { id } of this.#machine.cpus) {
      const may = this.#mayUse(id, pfn, rule === "G2");
      const is = found.has(`CPU ${id}`);
      if (may) this.tally.usable++;
      if (is) this.tally.found++;
      if (may && !is) this.#fail(`${what}: CPU ${id} may use it, not found`);
      const place = this.#inPlace(id, pfn, rule === "G2");
      if (is && !may && place.size === 0) this.#fail(`${what}: CPU ${id} cannot use it, found`);
      for (let pcid = 0; pcid < PCIDS; pcid++) this.#noteWait(id, pcid, what, place, may);
    }
  }

  /** A global translation that the CPU may use is found now, and need not be found again. */
  #noteWait(cpu: number, pcid: number, what: string, place: ReadonlySet<string>, found: boolean): void {
    if (pcid === this.#machine.cpu(cpu).control.pcid) return;
    const key = `${cpu}/${pcid}`;
    const waits = this.#waits.get(key) ?? new Map<string, Wait>();
    for (const each of this.#waiting(cpu, pcid)) {
      if (!each.startsWith(`${what} at`)) continue;
      const [page, global] = each.split(" at ")[1]!.split(" ");
      const isFound = place.has(page!) || place.has("*") || (global !== undefined && found);
      const how = isFound ? "may" : "must";
      if (waits.get(each) !== "must") waits.set(each, how);
      this.tally.waiting++;
    }
    if (waits.size > 0) this.#waits.set(key, waits);
  }

  /** Where roots that the CPU has loaded lead to a frame now: pages by number, any for a table. */
  #inPlace(cpu: number, pfn: number, isTable: boolean): Set<string> {
    const { memory } = this.#machine;
    const found = new Set<string>();
    for (const root of this.#loaded[cpu]!) {
      PAGES.forEach((page, i) => {
        let table = root / PAGE_SIZE;
        for (let level = 4; level >= 1; level--) {
          if (isTable && table === pfn) found.add("*");
          const unit = 512 ** (level - 1);
          const index = Math.floor(page / PAGE_SIZE / unit) % 512;
          const lo = memory.readLo(table * PAGE_SIZE + index * 8);
          if ((lo & 1) === 0) return;
          if (level === 1 || (lo & HUGE) !== 0) {
            if (!isTable && (lo >>> 12) + ((page / PAGE_SIZE) % unit) === pfn) found.add(`${i}`);
            return;
          }
          table = lo >>> 12;
        }
      });
    }
    return found;
  }

  /** What was freed and is mapped or linked again since is not old: it may still be found. */
  #forgive(lo: number): void {
    if (lo === 0 || this.#waits.size === 0) return;
    const again = new Set<number>();
    const visit = (entry: number): void => {
      const pfn = entry >>> 12;
      again.add(pfn);
      if ((entry & HUGE) === 0 && this.#tables.some((tables) => tables.includes(pfn as Pfn))) {
        for (const i of [0, 1, 2, 3]) visit(this.#machine.memory.readLo(pfn * PAGE_SIZE + i * 8));
      }
    };
    visit(lo);
    const isAgain = (pfn: number): boolean =>
      again.has(pfn) ||
      [...LARGE, HUGE_PAGE].some((first) => again.has(first) && pfn >= first && pfn < first + 512 ** 2);
    for (const waits of this.#waits.values()) {
      for (const wait of waits.keys()) if (isAgain(Number(wait.split(" ")[1]))) waits.set(wait, "may");
    }
  }

  /** What waits is forgotten where it cannot be used any more. */
  #age(only: number | null): void {
    for (const [key, waits] of this.#waits) {
      const [cpu, pcid] = key.split("/").map(Number) as [number, number];
      if (only !== null && cpu !== only) continue;
      if (pcid === this.#machine.cpu(cpu).control.pcid) continue;
      const waiting = this.#waiting(cpu, pcid, waits);
      for (const wait of waits.keys()) if (!waiting.has(wait)) waits.delete(wait);
      if (waits.size === 0) this.#waits.delete(key);
    }
  }
}
