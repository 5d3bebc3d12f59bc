import {
  ACCESS_READ,
  MODE_SUPERVISOR,
  RIGHT_KEY_SHIFT,
  RIGHT_SHADOW_STACK,
  RIGHT_U,
  RIGHT_W,
  RIGHT_XD,
} from "../cpu/access-rights.ts";
import type { Cpu } from "../cpu/cpu.ts";
import { LEVEL_NAMES, PTE_G } from "../cpu/entry-layout.ts";
import { hex } from "../cpu/hex.ts";
import { linearBigInt, linearHi, linearLo } from "../cpu/linear-address.ts";
import { WALK_NOT_PRESENT, WALK_RESERVED } from "../cpu/page-fault.ts";
import { INSPECT, WalkResult, walk } from "../cpu/page-walk.ts";
import type { TlbEntry } from "../cpu/tlb-entry.ts";

/** How an entry stands to what memory says now. */
export type TlbEntryState =
  /** A walk would give the same translation. */
  | "same"
  /** The path is present and gives another one: `why` names what differs. */
  | "different"
  /** A walk ends at an entry with P=0 or a reserved bit. */
  | "gone"
  /** It belongs to a PCID that is not current, whose root this CPU does not know. */
  | "unknown";

/** An entry of a TLB, and how it stands to memory. */
export interface TlbExplanation {
  readonly entry: TlbEntry;
  readonly state: TlbEntryState;
  /** What memory says now, with the entry and its address. */
  readonly why: string;
  /** Entry and reason in one line. */
  readonly text: string;
}

const SIZES = ["", "4 KiB", "2 MiB", "1 GiB"] as const;
const RIGHTS = RIGHT_W | RIGHT_U | RIGHT_XD | RIGHT_SHADOW_STACK | (0xf << RIGHT_KEY_SHIFT);

/** Every entry of a CPU's TLB by address, compared with what a walk finds now. Nothing changes. */
export function explainTlb(cpu: Cpu): TlbExplanation[] {
  const entries = cpu.tlb.entries().sort((a, b) => a.page - b.page || a.pcid - b.pcid || a.level - b.level);
  return entries.map((entry) => explain(cpu, entry));
}

/** The same as lines of text: tag, size, frame, rights, D and G, where it is held, and where memory now differs. */
export function describeTlb(cpu: Cpu): string[] {
  return explainTlb(cpu).map(({ text }) => text);
}

function explain(cpu: Cpu, entry: TlbEntry): TlbExplanation {
  const { state, why } = compare(cpu, entry);
  const { page, level, pcid, global, pfn, rights, dirty, structure } = entry;
  const words = [
    hex(linearBigInt(linearLo(page), linearHi(page))),
    SIZES[level],
    global ? `global (filled under PCID ${pcid})` : `PCID ${pcid}`,
    `-> frame ${hex(pfn)}`,
    rightsText(rights),
    `D=${Number(dirty)}`,
    ...(structure === undefined ? [] : [`[${structure}]`]),
  ];
  return { entry, state, why, text: `${words.join(" ")}: ${why}` };
}

function compare(cpu: Cpu, entry: TlbEntry): Pick<TlbExplanation, "state" | "why"> {
  const { control, machine } = cpu;
  if (!entry.global && entry.pcid !== control.pcid) {
    return {
      state: "unknown",
      why: `PCID ${control.pcid} is current, and the root of PCID ${entry.pcid} not known`,
    };
  }
  const found = new WalkResult();
  const lo = linearLo(entry.page);
  const hi = linearHi(entry.page);
  const code = walk(machine.memory, control, lo, hi, ACCESS_READ, MODE_SUPERVISOR, INSPECT, found);
  const where = `${LEVEL_NAMES[found.level]} ${found.entry} at ${hex(found.entryAddress)}`;
  if (code === WALK_NOT_PRESENT) return { state: "gone", why: `memory has P=0 in the ${where}` };
  if (code === WALK_RESERVED) return { state: "gone", why: `memory has a reserved bit in the ${where}` };
  const differences = differencesOf(entry, found, control.globals);
  if (differences.length === 0) return { state: "same", why: "as memory has it" };
  return { state: "different", why: `memory now has ${differences.join(", ")} (${where})` };
}

/** What a walk finds other than the entry has it. A piece of a large page is as that page is. */
function differencesOf(entry: TlbEntry, found: WalkResult, globals: boolean): string[] {
  const differences: string[] = [];
  const global = globals && (found.lo & PTE_G) !== 0;
  if (found.level < entry.level) differences.push(`pages of ${SIZES[found.level]}`);
  if (found.pfn !== entry.pfn) differences.push(`frame ${hex(found.pfn)}`);
  if (((found.rights ^ entry.rights) & RIGHTS) !== 0) differences.push(rightsText(found.rights));
  if (found.dirty !== entry.dirty) differences.push(`D=${Number(found.dirty)}`);
  if (global !== entry.global) differences.push(`G=${Number(global)}`);
  return differences;
}

function rightsText(rights: number): string {
  const key = (rights >>> RIGHT_KEY_SHIFT) & 0xf;
  const w = (rights & RIGHT_W) !== 0 ? "w" : "-";
  const x = (rights & RIGHT_XD) !== 0 ? "-" : "x";
  const who = (rights & RIGHT_U) !== 0 ? "user" : "supervisor";
  const stack = (rights & RIGHT_SHADOW_STACK) !== 0 ? " shadow-stack" : "";
  return `r${w}${x} ${who}${stack}${key === 0 ? "" : ` key ${key}`}`;
}
