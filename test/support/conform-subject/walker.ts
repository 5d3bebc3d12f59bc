import type { DefectName } from "./defects.ts";

/**
 * A whole MMU in one file, written against docs/conformance.md and the manual alone: nothing here comes from the
 * project's CPU or from the oracle. It can be told to make one mistake (defects.ts).
 */

/** A case as it comes over the wire; numbers with 0x are strings. */
export interface WireCase {
  readonly id: string;
  readonly cpu: { readonly vendor: string; readonly maxphyaddr: number; readonly page1gb: boolean };
  readonly registers: Readonly<Record<RegisterName, string>>;
  readonly memory: readonly (readonly [string, string])[];
  readonly steps: readonly WireStep[];
}

type RegisterName = "cr0" | "cr3" | "cr4" | "efer" | "pkru" | "pkrs";
type WireStep = { readonly op: string } & Readonly<Record<string, string | number | boolean>>;

/** A translation in the TLB: raw rights, judged at each use. */
interface Cached {
  readonly first: bigint;
  readonly bytes: bigint;
  readonly pcid: bigint;
  readonly global: boolean;
  readonly frame: bigint;
  readonly w: boolean;
  readonly u: boolean;
  readonly upperU: boolean;
  readonly x: boolean;
  readonly shadow: boolean;
  readonly dirty: boolean;
  readonly key: bigint;
}

interface Access {
  readonly kind: string;
  readonly la: bigint;
  readonly write: boolean;
  readonly fetch: boolean;
  readonly user: boolean;
  readonly shadow: boolean;
  /** SMAP does not apply. */
  readonly lifted: boolean;
}

/** An exception on its way to the answer. */
class Fault {
  readonly vector: number;
  readonly error: number;
  readonly cr2: bigint | null;

  constructor(vector: number, error = 0, cr2: bigint | null = null) {
    this.vector = vector;
    this.error = error;
    this.cr2 = cr2;
  }
}

const bit = (value: bigint, n: number): boolean => ((value >> BigInt(n)) & 1n) === 1n;
const hex = (value: bigint): string => `0x${value.toString(16)}`;

export class Walker {
  readonly #defect: DefectName | null;
  #cpu: WireCase["cpu"] = { vendor: "intel", maxphyaddr: 52, page1gb: true };
  #memory = new Map<bigint, bigint>();
  #tlb: Cached[] = [];
  #r: Record<RegisterName, bigint> = { cr0: 0n, cr3: 0n, cr4: 0n, efer: 0n, pkru: 0n, pkrs: 0n };

  constructor(defect: DefectName | null = null) {
    this.#defect = defect;
  }

  /** Runs a case from its beginning and returns the answer as it goes over the wire. */
  answer({ id, cpu, registers, memory, steps }: WireCase): object {
    this.#cpu = cpu;
    this.#tlb = [];
    for (const name of Object.keys(registers) as RegisterName[]) this.#r[name] = BigInt(registers[name]);
    this.#memory = new Map(memory.map(([pa, value]) => [BigInt(pa), BigInt(value)]));
    const results = steps.map((step) => this.#step(step));
    return { id, results, after: memory.map(([pa]) => hex(this.#memory.get(BigInt(pa)) ?? 0n)) };
  }

  #step(step: WireStep): object {
    try {
      return this.#run(step);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      const { vector, error, cr2 } = fault;
      return { fault: { vector, error, ...(cr2 === null ? {} : { cr2: hex(cr2) }) } };
    }
  }

  #run(step: WireStep): object {
    const value = (name: string): bigint => BigInt(step[name] ?? 0);
    const sparesGlobals = this.#defect === "invlpg-spares-globals";
    switch (step.op) {
      case "access":
        return { pa: hex(this.#access(step)) };
      case "write_entry":
        this.#memory.set(value("pa"), value("value"));
        return {};
      case "mov_cr3":
        this.#movCr3(value("value"));
        return {};
      case "invlpg":
        this.#drop((entry) => this.#covers(entry, value("la")) && this.#mine(entry, sparesGlobals));
        return {};
      case "invpcid":
        this.#invpcid(value("type"), value("pcid"), value("la"));
        return {};
      default:
        this.#control(step);
        return {};
    }
  }

  #movCr3(value: bigint): void {
    const keep = bit(value, 63);
    const root = value & ((1n << 63n) - 1n);
    if ((keep && !this.#pcide) || root >> BigInt(this.#cpu.maxphyaddr) !== 0n) throw new Fault(13);
    this.#r.cr3 = root;
    if (!keep) this.#drop((entry) => !entry.global && entry.pcid === this.#pcid);
  }

  #invpcid(type: bigint, pcid: bigint, la: bigint): void {
    if (type > 3n || pcid >> 12n !== 0n) throw new Fault(13);
    if (type < 2n && pcid !== 0n && !this.#pcide) throw new Fault(13);
    if (type === 0n && !this.#canonical(la)) throw new Fault(13);
    this.#drop((entry) => {
      if (type >= 2n) return type === 2n || !entry.global;
      return entry.pcid === pcid && !entry.global && (type === 1n || this.#covers(entry, la));
    });
  }

  #control(step: WireStep): void {
    const next = { ...this.#r };
    for (const [name, value] of Object.entries(step)) {
      if (name in next) next[name as RegisterName] = BigInt(value);
    }
    if (!bit(next.cr0, 31) || bit(next.cr4, 12) !== bit(this.#r.cr4, 12)) throw new Fault(13);
    if (bit(next.cr4, 17) && !this.#pcide && (this.#r.cr3 & 0xfffn) !== 0n) throw new Fault(13);
    // PSE, PGE, PCIDE, SMEP, PKE: some vendor wants a flush, and more than is due does no harm.
    if ([4, 7, 17, 20, 22].some((n) => bit(next.cr4, n) !== bit(this.#r.cr4, n))) this.#tlb = [];
    this.#r = next;
  }

  #access(step: WireStep): bigint {
    const kind = String(step.kind);
    const la = BigInt(step.la ?? 0);
    const implicit = kind === "implicit_read";
    const shadow = kind === "wruss";
    const access = {
      kind,
      la,
      shadow,
      write: shadow || kind === "write" || kind === "rmw",
      fetch: kind === "fetch",
      user: shadow || (step.cpl === 3 && !implicit),
      lifted: step.ac === true && !implicit && this.#defect !== "ac-ignored",
    };
    const last = BigInt.asUintN(64, la + BigInt(Number(step.size) - 1));
    if (!this.#canonical(la) || !this.#canonical(last)) throw new Fault(step.stack === true ? 12 : 13);
    const pa = this.#translate(access);
    if (la >> 12n !== last >> 12n) this.#translate({ ...access, la: (last >> 12n) << 12n });
    return pa;
  }

  #translate(access: Access): bigint {
    const { la, write } = access;
    const hit = this.#tlb.find((entry) => this.#covers(entry, la) && this.#mine(entry, false));
    const usable = hit !== undefined && (!write || hit.dirty || this.#defect === "clean-write-hits");
    let entry = usable ? hit : this.#walk(access);
    let error = this.#judge(entry, access);
    if (usable && error !== null) {
      // As on AMD: what memory says counts.
      this.#drop((cached) => this.#covers(cached, la));
      entry = this.#walk(access);
      error = this.#judge(entry, access);
    }
    if (error !== null) this.#raise(access, error);
    return entry.frame + (la - entry.first);
  }

  /** Goes down the tables, sets A and D, and fills the TLB. */
  #walk(access: Access): Cached {
    const { la, write } = access;
    const used: bigint[] = [];
    let table = this.#r.cr3 & 0xf_ffff_ffff_f000n;
    let rights = { w: true, u: true, x: true };
    let aboveW = true;
    let aboveU = true;
    for (let shift = this.#levels === 5 ? 48 : 39; ; shift -= 9) {
      const pa = table + ((la >> BigInt(shift)) & 0x1ffn) * 8n;
      const entry = this.#memory.get(pa) ?? 0n;
      if (!bit(entry, 0)) this.#raise(access, this.#code(access));
      const leaf = shift === 12 || (shift <= 30 && bit(entry, 7));
      if (this.#isReserved(entry, shift, leaf)) {
        this.#raise(access, this.#code(access) | (this.#defect === "rsvd-without-p" ? 8 : 9));
      }
      used.push(pa);
      const above = this.#defect === "leaf-rights-only" ? { w: true, u: true, x: true } : rights;
      [aboveW, aboveU] = [rights.w, rights.u];
      rights = { w: above.w && bit(entry, 1), u: above.u && bit(entry, 2), x: above.x && !bit(entry, 63) };
      if (this.#defect === "rights-too-early" && !access.shadow) {
        const soFar = { ...rights, upperU: rights.u, shadow: false, key: 0n };
        const error = this.#judge(soFar, access);
        if (error !== null) this.#raise(access, error);
      }
      if (!leaf) {
        table = entry & 0xf_ffff_ffff_f000n;
        continue;
      }
      const bytes = 1n << BigInt(shift);
      const small = shift === 12 && this.#defect === "pte-bit-12-is-pat" ? 0x1000n : 0n;
      const found: Cached = {
        first: la - (la % bytes),
        bytes,
        pcid: this.#pcid,
        global: bit(this.#r.cr4, 7) && bit(entry, 8),
        frame: entry & 0xf_ffff_ffff_f000n & ~(bytes - 1n) & ~small,
        ...rights,
        upperU: aboveU,
        shadow: aboveW && !bit(entry, 1) && bit(entry, 6),
        dirty: write || bit(entry, 6),
        key: (entry >> 59n) & 0xfn,
      };
      const denied = this.#judge(found, access) !== null;
      if (denied) {
        if (this.#defect === "a-on-fault") this.#set(pa, 0x20n);
        return found;
      }
      for (const at of used) this.#set(at, 0x20n);
      if (write || this.#defect === "d-on-read") this.#set(pa, 0x40n);
      this.#drop((old) => this.#covers(old, la) && this.#mine(old, false));
      this.#tlb.push(found);
      return found;
    }
  }

  #isReserved(entry: bigint, shift: number, leaf: boolean): boolean {
    let mask = 0n;
    if (this.#defect !== "high-bits-free") mask |= (1n << 52n) - (1n << BigInt(this.#cpu.maxphyaddr));
    if (!bit(this.#r.efer, 11) && this.#defect !== "xd-without-nxe") mask |= 1n << 63n;
    if (shift >= 39 && this.#defect !== "pml4e-ps-free") mask |= 0x80n;
    if (shift >= 39 && this.#cpu.vendor === "amd") mask |= 0x100n;
    if (shift === 30 && !this.#cpu.page1gb) mask |= 0x80n;
    if (leaf && shift > 12 && this.#defect !== "large-leaf-bits-free")
      mask |= (1n << BigInt(shift)) - 0x2000n;
    return (entry & mask) !== 0n;
  }

  /** The error code of a completed walk that denies the access, or null. */
  #judge(page: Pick<Cached, "w" | "u" | "x" | "upperU" | "shadow" | "key">, access: Access): number | null {
    const { write, fetch, user, shadow } = access;
    const wp = bit(this.#r.cr0, 16);
    const obeys = user || (wp && this.#defect !== "wp-ignored");
    let denied = user && !page.u;
    if (shadow) denied ||= !page.shadow;
    else if (write) denied ||= !page.w && obeys;
    if (fetch) {
      const honoured = bit(this.#r.efer, 11) || this.#defect === "xd-without-nxe";
      denied ||= (!page.x && honoured) || (!user && page.u && bit(this.#r.cr4, 20));
    } else {
      denied ||= !user && page.u && bit(this.#r.cr4, 21) && !access.lifted;
    }
    const key = !fetch && this.#keyDenies(page, access, user || wp);
    return denied || key ? this.#code(access) | 1 | (key ? 0x20 : 0) : null;
  }

  #keyDenies(page: { u: boolean; upperU: boolean; key: bigint }, access: Access, obeys: boolean): boolean {
    const userPage = this.#defect === "keys-by-upper-levels" ? page.upperU : page.u;
    if (!bit(this.#r.cr4, userPage ? 22 : 24)) return false;
    if (userPage && !access.user && this.#defect === "keys-for-users-only") return false;
    const rights = ((userPage ? this.#r.pkru : this.#r.pkrs) >> (2n * page.key)) & 3n;
    return (rights & 1n) !== 0n || (access.write && (rights & 2n) !== 0n && obeys);
  }

  #code({ write, fetch, user, shadow }: Access): number {
    const told = bit(this.#r.efer, 11) || bit(this.#r.cr4, 20) || this.#defect === "fetch-always-told";
    return (write ? 2 : 0) | (user ? 4 : 0) | (fetch && told ? 0x10 : 0) | (shadow ? 0x40 : 0);
  }

  #raise({ la }: Access, error: number): never {
    this.#drop((entry) => this.#covers(entry, la) && this.#mine(entry, false));
    throw new Fault(14, error, this.#defect === "cr2-of-page" ? (la >> 12n) << 12n : la);
  }

  #canonical(la: bigint): boolean {
    if (this.#defect === "canonical-unchecked") return true;
    const width = this.#levels === 5 ? 57 : 48;
    return BigInt.asUintN(64, BigInt.asIntN(width, la)) === la;
  }

  #set(pa: bigint, bits: bigint): void {
    this.#memory.set(pa, (this.#memory.get(pa) ?? 0n) | bits);
  }

  #drop(which: (entry: Cached) => boolean): void {
    this.#tlb = this.#tlb.filter((entry) => !which(entry));
  }

  #covers({ first, bytes }: Cached, la: bigint): boolean {
    return la >= first && la < first + bytes;
  }

  #mine({ global, pcid }: Cached, sparesGlobals: boolean): boolean {
    if (global) return !sparesGlobals;
    return pcid === this.#pcid || this.#defect === "pcid-ignored";
  }

  get #levels(): 4 | 5 {
    return bit(this.#r.cr4, 12) ? 5 : 4;
  }

  get #pcide(): boolean {
    return bit(this.#r.cr4, 17);
  }

  get #pcid(): bigint {
    return this.#pcide ? this.#r.cr3 & 0xfffn : 0n;
  }
}
