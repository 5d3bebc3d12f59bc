import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE } from "../arch/x86/cpu/access-rights.ts";
import type { Cpu } from "../arch/x86/cpu/cpu.ts";
import { cpuModel } from "../arch/x86/cpu/cpu-model.ts";
import { Machine } from "../arch/x86/cpu/machine.ts";
import type { PhysicalMemory } from "../arch/x86/cpu/physical-memory.ts";
import type { Benchmark } from "./benchmark.ts";

/*
 * Access matrix M1: one 4-KiB page under every state of NXE, WP, SMEP, SMAP and AC, three PML4Es, every P, R/W, U/S, XD
 * and one reserved bit of PDE and PTE, read, written and fetched at both privileges, with and without a TLB entry;
 * each of the 940,032 outcomes against the manual's rules, written down a second time here.
 */
export const CASES = 940_032;
const MODEL = { ...cpuModel("intel-sapphire-rapids"), name: "m1", maxPhyAddr: 40 };
const LINEAR_LO = 0x4_0000;
const LINEAR_HI = 0x80;
const LINEAR = LINEAR_HI * 2 ** 32 + LINEAR_LO;
const ROOT = 0x7_0000;
const PML4E = ROOT + 8;
const PDPTE = 0x10_0000;
const PDE = 0x10_1000;
const PTE = 0x10_2000 + 8 * 0x40;
const [P, W, U, ACCESSED, DIRTY] = [1, 2, 4, 0x20, 0x40] as const;
const XD = 0x8000_0000 | 0;
/** Bit 40, the first reserved one. */
const RESERVED = 0x100;
/** R/W and U/S of the PML4E: both, not writable, not the user's. */
const TOPS = [W | U, U, W] as const;
const KINDS = [ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH] as const;
/** Error-code bits of a fault by the page's rights, and by a reserved bit. */
const PROTECTION = 1;
const RESERVED_BIT = 9;
const OK = -1;

interface Control {
  readonly nxe: boolean;
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
}

/** PDE and PTE of a case. */
interface Pair {
  readonly dLo: number;
  readonly dHi: number;
  readonly tLo: number;
  readonly tHi: number;
}

/** All pairs with at most one reserved condition; XD is one while NXE=0. */
function pairs(nxe: boolean): Pair[] {
  const found: Pair[] = [];
  for (let n = 0; n < 2048; n++) {
    const bit = (place: number, value: number): number => ((n >>> place) & 1) * value;
    const dHi = bit(3, XD) | bit(9, RESERVED);
    const tHi = bit(7, XD) | bit(10, RESERVED);
    const conditions = bit(9, 1) + bit(10, 1) + (nxe ? 0 : bit(3, 1) + bit(7, 1));
    if (conditions > 1) continue;
    const dLo = 0x10_2000 | bit(0, P) | bit(1, W) | bit(2, U);
    const tLo = 0x11_0000 | bit(4, P) | bit(5, W) | bit(6, U) | bit(8, ACCESSED | DIRTY);
    found.push({ dLo, dHi, tLo, tHi });
  }
  return found;
}

/** The error code that the manual gives the access, or OK. */
function expected(
  control: Control,
  pair: Pair,
  top: number,
  kind: number,
  user: boolean,
  ac: boolean,
): number {
  const fetch = kind === ACCESS_FETCH && (control.nxe || control.smep) ? 16 : 0;
  const code = (kind === ACCESS_WRITE ? 2 : 0) | (user ? 4 : 0) | fetch;
  const reserved = control.nxe ? RESERVED : RESERVED | XD;
  if ((pair.dLo & P) === 0) return code;
  if ((pair.dHi & reserved) !== 0) return code | RESERVED_BIT;
  if ((pair.tLo & P) === 0) return code;
  if ((pair.tHi & reserved) !== 0) return code | RESERVED_BIT;
  const rights = top & pair.dLo & pair.tLo;
  const userPage = (rights & U) !== 0;
  let bad = user && !userPage;
  if (kind === ACCESS_WRITE) bad ||= (rights & W) === 0 && (user || control.wp);
  if (kind === ACCESS_FETCH)
    bad ||= ((pair.dHi | pair.tHi) & XD) !== 0 || (!user && userPage && control.smep);
  else bad ||= !user && userPage && control.smap && !ac;
  return bad ? code | PROTECTION : OK;
}

function access(cpu: Cpu, kind: number, user: boolean, ac: boolean): number {
  cpu.cpl = user ? 3 : 0;
  cpu.ac = ac;
  return cpu.translate(kind, LINEAR_LO, LINEAR_HI) >= 0 ? OK : (cpu.fault?.errorCode ?? Number.NaN);
}

/** The twelve accesses to one pair; the number of outcomes that are not the manual's. */
function wrongOf(
  cpu: Cpu,
  memory: PhysicalMemory,
  control: Control,
  pair: Pair,
  top: number,
  ac: boolean,
): number {
  let wrong = 0;
  for (let n = 0; n < 12; n++) {
    const kind = KINDS[n % 3]!;
    const user = n % 6 >= 3;
    memory.write(PDE, pair.dLo, pair.dHi);
    memory.write(PTE, pair.tLo, pair.tHi);
    cpu.dropPage(LINEAR);
    if (n >= 6) access(cpu, ACCESS_READ, false, true);
    const before = memory.readLo(PTE);
    const outcome = expected(control, pair, top, kind, user, ac);
    const set = outcome !== OK ? 0 : kind === ACCESS_WRITE ? ACCESSED | DIRTY : ACCESSED;
    if (access(cpu, kind, user, ac) !== outcome || memory.readLo(PTE) !== (before | set)) wrong++;
  }
  return wrong;
}

export const m1Benchmark: Benchmark = {
  name: "m1",
  group: "claim",
  operation: "a case of the access matrix M1, checked; 940,032 cases",
  reference: null,
  insteadOf: null,
  prepare() {
    const machine = new Machine({ memory: "16MiB", model: MODEL });
    const { memory } = machine;
    const cpu = machine.cpu(0);
    memory.write(PDPTE, 0x10_1007, 0);
    cpu.loadCr3(ROOT);
    const lists = { off: pairs(false), on: pairs(true) };
    return {
      operations: CASES,
      run() {
        let cases = 0;
        for (let n = 0; n < 24; n++) {
          const control = {
            nxe: (n & 1) !== 0,
            wp: (n & 2) !== 0,
            smep: (n & 4) !== 0,
            smap: n >= 8,
          };
          cpu.setControl(control);
          for (const top of TOPS) {
            memory.write(PML4E, 0x10_0021 | top, 0);
            for (const pair of control.nxe ? lists.on : lists.off) {
              if (wrongOf(cpu, memory, control, pair, top, n >= 16) !== 0)
                throw new RangeError("M1: a wrong outcome");
              cases += 12;
            }
          }
        }
        if (cases !== CASES) throw new RangeError(`M1: ${cases} cases instead of ${CASES}`);
        return cases;
      },
    };
  },
};
