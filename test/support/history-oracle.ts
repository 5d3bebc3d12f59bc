/**
 * A second judge of histories, written from the manuals alone (SDM vol. 3, 4.5 to 4.10; APM vol. 2, 5.3 to 5.5): bigint
 * entries, and for each page sets of translations that are born when memory allows them and dropped when an operation
 * must drop them. It shares no code with arch/, whose CPU and oracle share their walk, rights and invalidation table.
 */

/** What the judge is told of the CPU. */
export interface HistoryCpu {
  readonly vendor: "intel" | "amd";
  readonly cpus: number;
  readonly maxphyaddr: number;
  /** Where memory ends: above, all ones are read. */
  readonly memoryBytes: bigint;
  /** The linear addresses of the pages that are asked about. */
  readonly pages: readonly bigint[];
}

export interface HistoryControl {
  readonly wp: boolean;
  readonly nxe: boolean;
  readonly pge: boolean;
  readonly pse: boolean;
  readonly pcide: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pke: boolean;
  readonly tce: boolean;
  readonly pkru: number;
}

export interface HistoryAccess {
  readonly la: bigint;
  readonly kind: "read" | "write" | "fetch";
  readonly user: boolean;
  readonly ac: boolean;
}

/** What one INVLPGB names; what is left out matches all. */
export interface HistoryBroadcast {
  readonly pages?: readonly bigint[];
  readonly pcid?: number;
  readonly globals: boolean;
  readonly finalOnly: boolean;
}

/** "pa 0x23008" or "pf 0x7". */
export type HistoryOutcome = string;

interface Rights {
  readonly w: boolean;
  readonly u: boolean;
  readonly xd: boolean;
}

/** A table that a walk may begin at: the root, or one that a cached entry leads to. */
interface Table extends Rights {
  /** Level of its entries. */
  readonly level: number;
  readonly at: bigint;
}

interface Leaf extends Rights {
  readonly level: number;
  readonly frame: bigint;
  readonly key: number;
  readonly dirty: boolean;
  readonly global: boolean;
}

/** What a CPU may hold for one page under one PCID. */
interface Born {
  readonly leaves: Map<string, Leaf>;
  readonly tables: Map<string, Table>;
}

interface Processor {
  root: bigint;
  cr3Low: number;
  control: HistoryControl;
  /** By PCID, then by page. */
  readonly contexts: Map<number, Map<bigint, Born>>;
}

/** What an operation drops of one context: leaves and tables that these say. */
interface Drop {
  readonly leaf: (leaf: Leaf, page: bigint) => boolean;
  readonly table: (table: Table, page: bigint) => boolean;
}

type Found = { readonly leaf: Leaf } | { readonly fault: "absent" | "reserved" };

const P = 1n;
const RW = 2n;
const US = 4n;
const A = 0x20n;
const D = 0x40n;
const PS = 0x80n;
const G = 0x100n;
const XD = 1n << 63n;
const FRAME = 0xf_ffff_ffff_f000n;
const EVERYTHING: Drop = { leaf: () => true, table: () => true };
const AT_RESET: HistoryControl = {
  wp: true,
  nxe: true,
  pge: true,
  pse: false,
  pcide: false,
  smep: false,
  smap: false,
  pke: false,
  tce: false,
  pkru: 0,
};

function shiftOf(level: number): bigint {
  return BigInt(3 + 9 * level);
}

function same(level: number, a: bigint, b: bigint): boolean {
  return a >> shiftOf(level) === b >> shiftOf(level);
}

/** Everything that two CPUs' caches may answer, from a moment when they are empty and memory is zero. */
export class HistoryOracle {
  readonly #cpu: HistoryCpu;
  readonly #memory = new Map<bigint, bigint>();
  readonly #processors: readonly Processor[];
  readonly #broadcasts: { from: number; tce: boolean; what: HistoryBroadcast }[] = [];

  constructor(cpu: HistoryCpu) {
    this.#cpu = cpu;
    this.#processors = Array.from({ length: cpu.cpus }, () => {
      return { root: 0n, cr3Low: 0, control: AT_RESET, contexts: new Map() };
    });
  }

  /** Somebody stored an entry. */
  wrote(pa: bigint, value: bigint): void {
    const old = this.#memory.get(pa) ?? 0n;
    this.#memory.set(pa, value);
    // A is no part of a translation: a CPU may have set it in a walk of its own before.
    if ((old ^ value) === A) return;
    for (const cpu of this.#processors) this.#grow(cpu);
  }

  movCr3(id: number, root: bigint, pcid: number, keep: boolean): void {
    const cpu = this.#processors[id]!;
    cpu.root = root;
    cpu.cr3Low = pcid;
    if (!keep) this.#drop(cpu, pcid, { leaf: ({ global }) => !global, table: () => true });
    this.#grow(cpu);
  }

  /** Control registers were written. */
  control(id: number, now: HistoryControl): void {
    const cpu = this.#processors[id]!;
    const { control: old } = cpu;
    const amd = this.#cpu.vendor === "amd";
    const everything =
      old.pge !== now.pge ||
      (old.pcide && !now.pcide) ||
      (amd && (old.pse !== now.pse || (now.pke && !old.pke)));
    cpu.control = now;
    if (everything) cpu.contexts.clear();
    else if (!amd && now.smep && !old.smep) this.#drop(cpu, this.#pcid(cpu), EVERYTHING);
    this.#grow(cpu);
  }

  invlpg(id: number, la: bigint): void {
    const cpu = this.#processors[id]!;
    this.#dropPage(cpu, this.#pcid(cpu), la, true, this.#narrow(cpu) ? "path" : "all");
    this.#grow(cpu);
  }

  invpcid(id: number, type: number, pcid: number, la: bigint): void {
    const cpu = this.#processors[id]!;
    const amd = this.#cpu.vendor === "amd";
    if (type === 0) this.#dropPage(cpu, pcid, la, false, amd && !this.#narrow(cpu) ? "all" : "path");
    for (const context of [...cpu.contexts.keys()]) {
      if (type === 0 || (type === 1 && context !== pcid)) continue;
      this.#drop(cpu, context, { leaf: ({ global }) => type === 2 || !global, table: () => true });
    }
    this.#grow(cpu);
  }

  /** Nothing is certain to be gone anywhere before TLBSYNC. */
  invlpgb(id: number, what: HistoryBroadcast): void {
    this.#broadcasts.push({ from: id, tce: this.#processors[id]!.control.tce, what });
  }

  tlbsync(id: number): void {
    const own = this.#broadcasts.filter(({ from }) => from === id);
    const others = this.#broadcasts.filter(({ from }) => from !== id);
    this.#broadcasts.splice(0, Infinity, ...others);
    for (const cpu of this.#processors) {
      // Each page of each is an operation of its own: in between a table that is still there may lead to a leaf again.
      for (const { tce, what } of own) {
        for (const la of what.pages ?? [null]) {
          this.#broadcast(cpu, tce, what, la);
          this.#grow(cpu);
        }
      }
    }
  }

  /** A page fault was raised, or on AMD was about to be. */
  faulted(id: number, la: bigint): void {
    const cpu = this.#processors[id]!;
    this.#dropPage(cpu, this.#pcid(cpu), la, true, "path");
    this.#grow(cpu);
  }

  /** Every end that an access may have. */
  allowed(id: number, access: HistoryAccess): Set<HistoryOutcome> {
    const cpu = this.#processors[id]!;
    const page = access.la & ~0xfffn;
    const born = this.#born(cpu, this.#pcid(cpu), page);
    const ends = new Set<HistoryOutcome>();
    const mayFault = this.#cpu.vendor === "intel";
    ends.add(this.#end(cpu, access, this.#walk(cpu, this.#root(cpu), page)));
    for (const table of born.tables.values()) {
      const end = this.#end(cpu, access, this.#walk(cpu, table, page));
      if (mayFault || end.startsWith("pa")) ends.add(end);
    }
    for (const [pcid, pages] of cpu.contexts) {
      for (const leaf of pages.get(page)?.leaves.values() ?? []) {
        if (pcid !== this.#pcid(cpu) && !leaf.global) continue;
        const end = this.#end(cpu, access, { leaf });
        if (end.startsWith("pa") ? access.kind !== "write" || leaf.dirty : mayFault) ends.add(end);
      }
    }
    return ends;
  }

  /** What memory alone says. */
  fresh(id: number, access: HistoryAccess): HistoryOutcome {
    const cpu = this.#processors[id]!;
    return this.#end(cpu, access, this.#walk(cpu, this.#root(cpu), access.la & ~0xfffn));
  }

  #pcid({ control, cr3Low }: Processor): number {
    return control.pcide ? cr3Low : 0;
  }

  #narrow({ control }: Processor): boolean {
    return this.#cpu.vendor === "amd" && control.tce;
  }

  #root({ root }: Processor): Table {
    return { level: 4, at: root, w: true, u: true, xd: false };
  }

  #born(cpu: Processor, pcid: number, page: bigint): Born {
    const pages = cpu.contexts.get(pcid) ?? new Map<bigint, Born>();
    cpu.contexts.set(pcid, pages);
    const born = pages.get(page) ?? { leaves: new Map(), tables: new Map() };
    pages.set(page, born);
    return born;
  }

  /** Adds all that a CPU might cache now: by walks from the root, and from each table that it may have cached. */
  #grow(cpu: Processor): void {
    for (const page of this.#cpu.pages) {
      const born = this.#born(cpu, this.#pcid(cpu), page);
      // A Map goes on with what is added while it is gone through.
      this.#learn(cpu, born, this.#root(cpu), page);
      for (const table of born.tables.values()) this.#learn(cpu, born, table, page);
    }
  }

  #learn(cpu: Processor, born: Born, from: Table, page: bigint): void {
    const found = this.#walk(cpu, from, page, (table) => {
      born.tables.set(`${table.level} ${table.at} ${table.w} ${table.u} ${table.xd}`, table);
    });
    if (!("leaf" in found)) return;
    const { level, frame, key, dirty, global, w, u, xd } = found.leaf;
    born.leaves.set(`${level} ${frame} ${key} ${dirty} ${global} ${w} ${u} ${xd}`, found.leaf);
  }

  #walk(cpu: Processor, from: Table, page: bigint, met?: (table: Table) => void): Found {
    let { level, at, w, u, xd } = from;
    for (;;) {
      const index = (page >> shiftOf(level)) & 0x1ffn;
      const entry = this.#read(at + 8n * index);
      if ((entry & P) === 0n) return { fault: "absent" };
      if ((entry & this.#reserved(cpu, level, entry)) !== 0n) return { fault: "reserved" };
      w &&= (entry & RW) !== 0n;
      u &&= (entry & US) !== 0n;
      xd ||= (entry & XD) !== 0n;
      if (level === 1 || (level <= 3 && (entry & PS) !== 0n)) {
        const frame = entry & FRAME & ~((1n << shiftOf(level)) - 1n);
        const global = cpu.control.pge && (entry & G) !== 0n;
        const key = Number((entry >> 59n) & 0xfn);
        return { leaf: { level, frame, key, dirty: (entry & D) !== 0n, global, w, u, xd } };
      }
      level--;
      at = entry & FRAME;
      met?.({ level, at, w, u, xd });
    }
  }

  #read(pa: bigint): bigint {
    return pa < this.#cpu.memoryBytes ? (this.#memory.get(pa) ?? 0n) : (1n << 64n) - 1n;
  }

  #reserved({ control }: Processor, level: number, entry: bigint): bigint {
    let bits = (1n << 52n) - (1n << BigInt(this.#cpu.maxphyaddr));
    if (!control.nxe) bits |= XD;
    if (level === 4) bits |= this.#cpu.vendor === "amd" ? PS | G : PS;
    if (level === 3 && (entry & PS) !== 0n) bits |= 0x3fff_e000n;
    if (level === 2 && (entry & PS) !== 0n) bits |= 0x1f_e000n;
    return bits;
  }

  #end(cpu: Processor, access: HistoryAccess, found: Found): HistoryOutcome {
    const { nxe, smep } = cpu.control;
    let code = access.kind === "write" ? 2 : 0;
    if (access.user) code |= 4;
    if (access.kind === "fetch" && (nxe || smep)) code |= 0x10;
    if (!("leaf" in found)) return `pf 0x${(found.fault === "absent" ? code : code | 9).toString(16)}`;
    const { leaf } = found;
    const key = breaksKey(cpu.control, leaf, access);
    if (key || breaksRights(cpu.control, leaf, access)) {
      return `pf 0x${(code | 1 | (key ? 0x20 : 0)).toString(16)}`;
    }
    return `pa 0x${(leaf.frame | (access.la & ((1n << shiftOf(leaf.level)) - 1n))).toString(16)}`;
  }

  #drop(cpu: Processor, pcid: number, { leaf, table }: Drop): void {
    for (const [page, { leaves, tables }] of cpu.contexts.get(pcid) ?? []) {
      for (const [name, one] of leaves) if (leaf(one, page)) leaves.delete(name);
      for (const [name, one] of tables) if (table(one, page)) tables.delete(name);
    }
  }

  /** One address of one PCID; global translations may go whatever PCID they were made under. */
  #dropPage(
    cpu: Processor,
    pcid: number,
    la: bigint,
    globals: boolean,
    which: "all" | "path" | "none",
  ): void {
    for (const context of cpu.contexts.keys()) {
      const own = context === pcid;
      this.#drop(cpu, context, {
        leaf: ({ level, global }, page) => same(level, page, la) && (global ? globals : own),
        // The entry that leads to a table of a level covers what its own level does.
        table: ({ level }, page) =>
          own && (which === "all" || (which === "path" && same(level + 1, page, la))),
      });
    }
  }

  /** One page of an INVLPGB, or with null all addresses. */
  #broadcast(
    cpu: Processor,
    tce: boolean,
    { pcid, globals, finalOnly }: HistoryBroadcast,
    la: bigint | null,
  ): void {
    for (const context of cpu.contexts.keys()) {
      const own = pcid === undefined || context === pcid;
      this.#drop(cpu, context, {
        leaf: ({ level, global }, page) => (la === null || same(level, page, la)) && (global ? globals : own),
        table: ({ level }, page) => own && !finalOnly && (la === null || !tce || same(level + 1, page, la)),
      });
    }
  }
}

function breaksRights(
  { wp, nxe, smep, smap }: HistoryControl,
  { w, u, xd }: Leaf,
  { kind, user, ac }: HistoryAccess,
): boolean {
  if (user && !u) return true;
  if (kind === "write" && !w && (user || wp)) return true;
  if (kind === "fetch") return (nxe && xd) || (!user && smep && u);
  return !user && smap && u && !ac;
}

/** Keys of user pages; IA32_PKRS is not part of these histories. */
function breaksKey(
  { wp, pke, pkru }: HistoryControl,
  { u, key }: Leaf,
  { kind, user }: HistoryAccess,
): boolean {
  if (!pke || !u || kind === "fetch") return false;
  const bits = (pkru >>> (2 * key)) & 3;
  return (bits & 1) !== 0 || (kind === "write" && (bits & 2) !== 0 && (user || wp));
}
