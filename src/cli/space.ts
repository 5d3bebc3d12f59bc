import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { quote } from "../formats/format-error.ts";
import { hex } from "../text/hex.ts";
import { type OptionSpec, type ParsedArguments, UsageError } from "./command.ts";
import type { Image } from "./image.ts";
import { parseCr3 } from "./options.ts";
import { isPaging, type MachineState, stateOf, withoutMark } from "./registers.ts";

/** Names that a message lists before it says how many more there are. */
const MAX_LISTED = 60;
const MAX_CPU_NUMBER = 65_535;

/** The options that choose an address space. */
export const SPACE_OPTIONS = {
  cr3: { value: "X", help: "the root table's physical address, or the CR3 that holds it" },
  process: {
    value: "NAME",
    help: "the root of this process; with page-table isolation NAME.k is the kernel's",
  },
  vcpu: { value: "N", help: "the CPU of QEMU's notes whose CR3, CR0 and CR4 are taken (default 0)" },
  levels: { value: "4|5", help: "levels of the tables, for images that do not say (default 4)" },
} as const satisfies Record<string, OptionSpec>;

/** One address space of an image. */
export interface AddressSpace {
  /** As the register holds it. */
  readonly cr3: bigint;
  /** Physical address of the root table. */
  readonly root: number;
  readonly levels: 4 | 5;
  /** For titles: the process's name, "CPU 0", or "CR3 0x...". */
  readonly name: string;
  /** In which its entries are judged. */
  readonly state: MachineState;
}

/** The address space that --cr3, --process or --vcpu chooses. Throws UsageError that says what there is. */
export function chooseSpace(image: Image, parsed: ParsedArguments): AddressSpace {
  const typed = parsed.text("cr3");
  const process = parsed.text("process");
  if (typed !== undefined && process !== undefined) {
    throw new UsageError("--cr3 and --process both choose the root: give one of them");
  }
  const vcpu = vcpuOf(image, parsed);
  const state = stateOf(image, vcpu, parsed);
  const space = (cr3: bigint, name?: string): AddressSpace => {
    const root = Number(withoutMark(cr3, state.mark) & 0xf_ffff_ffff_f000n);
    return { cr3, root, levels: state.levels, name: name ?? `CR3 ${hex(root)}`, state };
  };
  if (typed !== undefined) return space(parseCr3(typed));
  const roots = rootsOf(image);
  if (process === undefined) {
    const cpu = image.core.cpus[vcpu];
    if (cpu === undefined) {
      throw new UsageError(`give --cr3 X or --process NAME; ${processList(image, roots)}`);
    }
    const { legacyMode } = image.core;
    if (legacyMode || !isPaging(cpu)) {
      const why = legacyMode ? "the dump is one of a machine in 32-bit mode (EM_386)" : `CR0 ${hex(cpu.cr0)}`;
      throw new UsageError(`CPU ${vcpu} was not in long mode: ${why}; give --cr3 X, or --vcpu N`);
    }
    return space(cpu.cr3, `CPU ${vcpu}`);
  }
  const value = roots.get(process);
  if (value === undefined) {
    throw new UsageError(`no process ${quote(process)}: ${processList(image, roots)}`);
  }
  return space(BigInt(value - (value % PAGE_SIZE)), process);
}

function vcpuOf({ core, path }: Image, parsed: ParsedArguments): number {
  const text = parsed.text("vcpu");
  if (text === undefined) return 0;
  const number = /^\d{1,5}$/.test(text) ? Number(text) : MAX_CPU_NUMBER + 1;
  if (number < core.cpus.length) return number;
  const count = core.cpus.length;
  const known = count === 0 ? `${path} has no CPU's registers` : `there are CPUs 0 to ${count - 1}`;
  throw new UsageError(`--vcpu ${quote(text)}: ${known}`);
}

/** CR3 by the name of the process, as far as the image knows. */
function rootsOf(image: Image): ReadonlyMap<string, number> {
  return image.core.note?.cr3 ?? image.manifest?.cr3 ?? new Map();
}

function processList(image: Image, roots: ReadonlyMap<string, number>): string {
  const names = [...roots.keys()];
  if (names.length === 0) {
    return `${image.path} does not name processes, use --cr3 (ptescope roots IMAGE looks for roots)`;
  }
  // NAME.k stands for the same process as NAME.
  const listed = names.filter((name) => !(name.endsWith(".k") && roots.has(name.slice(0, -2))));
  const isolated = listed.length < names.length ? " (each also as NAME.k, the kernel's root)" : "";
  const shown = listed.slice(0, MAX_LISTED).join(", ");
  const more = listed.length > MAX_LISTED ? ` and ${listed.length - MAX_LISTED} more` : "";
  return `there are ${shown}${more}${isolated}`;
}
