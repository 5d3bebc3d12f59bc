import { PAGE_SIZE } from "../../arch/x86/cpu/address.ts";
import { MAX_MEMORY_BYTES } from "../../arch/x86/cpu/physical-memory.ts";
import { isBitSet, MAX_CR3, type PagingState, readPagingState, requireProcessNames } from "./elf-note.ts";
import type { JsonObject } from "./json-fields.ts";
import { parseJsonObject } from "./json-fields.ts";

/** Largest guest: what PhysicalMemory can hold. */
export const MAX_GUEST_BYTES = MAX_MEMORY_BYTES;
const MAX_PID = 2 ** 22;
const MAX_SWAP_TYPE = 31;

/** With page-table isolation the user half's root is the page behind the kernel's (PTI_USER_PGTABLE_BIT). */
const PTI_USER_ROOT = 0x1000;
const KERNEL_ROOT_SUFFIX = ".k";

/** Low bits of CR3: PWT and PCD without process-context identifiers, the PCID with them (SDM vol. 3, 2.5). */
const CR3_LOW = 0xfff;
const CR3_PWT_PCD = 0x18;
const CR4_PCIDE_BIT = 17;

/**
 * Which layout of entries a kernel release has: the row of its version with the highest patch not
 * above its own. 4.14.63, 4.17.15 and 4.18.1 brought the layout that answers L1TF.
 */
const KERNELS: readonly { version: string; patch: number; layout: string }[] = [
  { version: "4.13", patch: 0, layout: "linux-4.13" },
  { version: "4.14", patch: 0, layout: "linux-4.14" },
  { version: "4.14", patch: 63, layout: "l1tf" },
  { version: "4.15", patch: 0, layout: "linux-4.14" },
  { version: "4.16", patch: 0, layout: "linux-4.14" },
  { version: "4.17", patch: 0, layout: "linux-4.14" },
  { version: "4.17", patch: 15, layout: "l1tf" },
  { version: "4.18", patch: 1, layout: "l1tf" },
  { version: "4.19", patch: 0, layout: "l1tf" },
  { version: "6.1", patch: 0, layout: "linux-6.1" },
  { version: "6.12", patch: 0, layout: "linux-6.12" },
];

/** Numbers of the swap types that are not swap areas, as the guest's kernel was built. */
export interface GuestSwapTypes {
  readonly hwpoison: number;
  /** First and last. */
  readonly migration: readonly [number, number];
  readonly pteMarker: number;
  /** Null where the kernel has a marker for it instead (6.12). */
  readonly swapinError: number | null;
}

export interface ManifestProcess {
  readonly name: string;
  readonly pid: number;
  /** Physical address of the root table; the kernel's one under page-table isolation. */
  readonly root: number;
  /** Root of the user half's own tables under page-table isolation. */
  readonly userRoot: number | null;
}

export interface GuestManifest extends PagingState {
  readonly name: string;
  readonly kernelRelease: string;
  /** Name of the layout of entries; null for a kernel release that is not known. */
  readonly layout: string | null;
  readonly pti: boolean;
  readonly memoryBytes: number;
  readonly swapTypes: GuestSwapTypes;
  readonly processes: readonly ManifestProcess[];
  /** CR3 of every entry of `procs`, NAME.k included. */
  readonly cr3: ReadonlyMap<string, number>;
}

/** Reads manifest.json of a guest directory. Throws FormatError. */
export function parseGuestManifest(file: string, bytes: Uint8Array): GuestManifest {
  const json = parseJsonObject(file, null, bytes);
  const state = readPagingState(json);
  const memoryBytes = json.integer("guest_ram", PAGE_SIZE, MAX_GUEST_BYTES);
  if (memoryBytes % PAGE_SIZE !== 0) throw json.wrong("guest_ram", `a multiple of ${PAGE_SIZE}`, memoryBytes);
  const kernelRelease = json.text(
    "kernel",
    /^\d{1,3}\.\d{1,3}[!-~]{0,80}$/,
    "a kernel release such as 6.1.0-56-amd64",
  );
  const pti = json.boolean("pti");
  const procs = json.object("procs");
  const cr3 = readRoots(procs, state.cr4, memoryBytes);
  return {
    name: json.text("name", /^[!-~]{1,64}$/, "1 to 64 printable characters"),
    kernelRelease,
    layout: layoutOf(kernelRelease),
    pti,
    memoryBytes,
    ...state,
    swapTypes: readSwapTypes(json.object("swap_types")),
    processes: pti ? pairRoots(procs, cr3) : plainRoots(procs, cr3),
    cr3,
  };
}

/** Kernel versions whose layout is known, for messages. */
export function knownKernels(): string[] {
  return [...new Set(KERNELS.map(({ version }) => version))];
}

/** Names of all layouts that a release can lead to. */
export function guestLayouts(): string[] {
  return [...new Set(KERNELS.map(({ layout }) => layout))];
}

function layoutOf(release: string): string | null {
  const match = /^(\d+\.\d+)(?:\.(\d+))?/.exec(release);
  const patch = Number(match?.[2] ?? 0);
  const row = KERNELS.findLast((kernel) => kernel.version === match?.[1] && kernel.patch <= patch);
  return row?.layout ?? null;
}

function readRoots(procs: JsonObject, cr4: number, memoryBytes: number): ReadonlyMap<string, number> {
  const names = procs.names();
  requireProcessNames(procs, names);
  const allowed = isBitSet(cr4, CR4_PCIDE_BIT) ? CR3_LOW : CR3_PWT_PCD;
  const cr3 = new Map<string, number>();
  for (const name of names) {
    const entry = procs.object(name);
    const value = entry.hex("cr3", MAX_CR3);
    // The low word holds all of the low bits; `&` would cut the rest of the address.
    if (((value % 2 ** 32) & CR3_LOW & ~allowed) !== 0 || rootOf(value) >= memoryBytes) {
      const form = `a page-aligned address inside the memory of 0x${memoryBytes.toString(16)} bytes`;
      throw entry.wrong("cr3", form, `0x${value.toString(16)}`);
    }
    cr3.set(name, value);
  }
  return cr3;
}

function plainRoots(procs: JsonObject, cr3: ReadonlyMap<string, number>): ManifestProcess[] {
  return [...cr3].map(([name, value]) => ({
    name,
    pid: procs.object(name).integer("pid", 1, MAX_PID),
    root: rootOf(value),
    userRoot: null,
  }));
}

/** NAME has the user half's root and NAME.k the kernel's, one page before it. */
function pairRoots(procs: JsonObject, cr3: ReadonlyMap<string, number>): ManifestProcess[] {
  const processes: ManifestProcess[] = [];
  for (const [name, value] of cr3) {
    if (name.endsWith(KERNEL_ROOT_SUFFIX)) {
      const user = name.slice(0, -KERNEL_ROOT_SUFFIX.length);
      if (!cr3.has(user)) throw procs.error(`procs.${user} beside procs.${name} (pti is true)`);
      continue;
    }
    const kernelName = `${name}${KERNEL_ROOT_SUFFIX}`;
    const kernelCr3 = cr3.get(kernelName);
    if (kernelCr3 === undefined) throw procs.error(`procs.${kernelName} beside procs.${name} (pti is true)`);
    const root = rootOf(kernelCr3);
    const userRoot = rootOf(value);
    if (userRoot !== root + PTI_USER_ROOT || root % (2 * PTI_USER_ROOT) !== 0) {
      const pair = `0x${userRoot.toString(16)} and 0x${root.toString(16)}`;
      throw procs.error(`cr3 of ${name} to be that of ${kernelName} with bit 12 set, found ${pair}`);
    }
    const pid = procs.object(name).integer("pid", 1, MAX_PID);
    if (procs.object(kernelName).integer("pid", 1, MAX_PID) !== pid) {
      throw procs.error(`the same pid in ${name} and ${kernelName}`);
    }
    processes.push({ name, pid, root, userRoot });
  }
  return processes;
}

function readSwapTypes(json: JsonObject): GuestSwapTypes {
  const range = json.text("migration", /^\d{1,2}\.\.\d{1,2}$/, 'a range such as "27..29"');
  const [first, last] = range.split("..").map(Number);
  const types: GuestSwapTypes = {
    hwpoison: json.integer("hwpoison", 1, MAX_SWAP_TYPE),
    migration: [first ?? 0, last ?? 0],
    pteMarker: json.integer("pte_marker", 1, MAX_SWAP_TYPE),
    swapinError: json.has("swapin_error") ? json.integer("swapin_error", 1, MAX_SWAP_TYPE) : null,
  };
  const [low, high] = types.migration;
  if (low < 1 || low > high || high > MAX_SWAP_TYPE) {
    throw json.wrong("migration", `a range inside 1..${MAX_SWAP_TYPE}`, range);
  }
  const single = [types.hwpoison, types.pteMarker, types.swapinError ?? -1];
  if (new Set(single).size !== single.length || single.some((type) => type >= low && type <= high)) {
    throw json.error(`${json.path} to give each kind of entry a type of its own`);
  }
  json.text("swapfile", /^0\.\.\d{0,2}$/, 'a range from 0 such as "0.."');
  return types;
}

function rootOf(cr3: number): number {
  return cr3 - (cr3 % PAGE_SIZE);
}
