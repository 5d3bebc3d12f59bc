import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type AccessResult,
  type Cpu,
  type CpuModel,
  cpuModel,
  Machine,
  type MachineOptions,
} from "../../../../src/package/cpu.ts";

/** The fixture of the conformance facts: one linear address whose four entries have known places. */
export const T = 0x0000_0080_0004_0000;
export const ROOT = 0x7_0000;
/** With five levels the PML5, whose first entry points to the PML4 at ROOT. */
export const PML5 = 0x6_0000;
export const PML4E = ROOT + 8;
export const PDPTE = 0x10_0000;
export const PDE = 0x10_1000;
export const PTE = 0x10_2000 + 0x40 * 8;
export const PAGE_A = 0x11_0000;
export const PAGE_B = 0x11_1000;

/** MAXPHYADDR 40, as in the runs the facts were measured on. */
export const MODEL: CpuModel = { ...cpuModel("intel-sapphire-rapids"), name: "fixture", maxPhyAddr: 40 };

export class Fixture {
  readonly machine: Machine;
  readonly cpu: Cpu;

  constructor(options: Partial<MachineOptions> = {}) {
    this.machine = new Machine({ memory: "16MiB", model: MODEL, ...options });
    this.cpu = this.machine.cpu(0);
    this.set(PML4E, 0x10_0007n);
    this.set(PDPTE, 0x10_1007n);
    this.set(PDE, 0x10_2007n);
    this.set(PTE, 0x11_0007n);
    if (options.levels === 5) this.set(PML5, BigInt(ROOT | 7));
    this.cpu.loadCr3(options.levels === 5 ? PML5 : ROOT);
  }

  set(address: number, value: bigint): this {
    this.machine.memory.write(address, Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0);
    return this;
  }

  get(address: number): bigint {
    return this.machine.memory.read(address).toBigInt();
  }

  /** A of PML4E, PDPTE, PDE, PTE as four digits. */
  accessed(): string {
    return [PML4E, PDPTE, PDE, PTE].map((address) => String((this.get(address) >> 5n) & 1n)).join("");
  }

  /** "ok", or the fault's kind and error code: "#PF 0x07". */
  access(
    kind: "read" | "write" | "fetch",
    who: "user" | "sup" = "sup",
    address: number | bigint = T,
  ): string {
    this.cpu.cpl = who === "user" ? 3 : 0;
    if (kind === "read") return outcome(this.cpu.load(address));
    return outcome(kind === "write" ? this.cpu.store(address, 0x2an) : this.cpu.fetch(address));
  }
}

export function outcome(result: AccessResult): string {
  if (result.ok) return "ok";
  const { kind, errorCode } = result.fault;
  return kind === "#PF" ? `#PF 0x${errorCode.toString(16).padStart(2, "0")}` : kind;
}

export const KINDS = [ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH] as const;
