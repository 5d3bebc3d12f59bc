import { KPF } from "../../src/formats/proc-pagemap.ts";
import { hex } from "../../src/text/hex.ts";
import { buildCore, type MiniGuest, text } from "../src/formats/mini-guest.ts";
import { PhysicalPages } from "./physical-pages.ts";

/** Entries of 1 GiB: half of a table, one behind the other from linear address 0. */
export const GIB_ENTRIES = 256;
export const GIB = 2 ** 30;
const REGISTERS = { cr0: "0x80050033", cr4: "0x6e0", efer: "0xd01", levels: 4 };
const SWAP_TYPES = { swapfile: "0..", hwpoison: 26, migration: "27..29", pte_marker: 30, swapin_error: 31 };

/** What a guest of two tables says. */
export interface GibGuestOptions {
  /** Bytes of memory; the two tables are its second and third page from the end. */
  readonly memory: number;
  /** The entry of one GiB of linear addresses. */
  readonly entry: (gib: number) => bigint;
  /** The mapping of one page at the start of each GiB; none without. */
  readonly vma?: {
    /** What stands behind the addresses in a line of maps, and the codes of VmFlags. */
    readonly line: string;
    readonly flags: string;
    /** The page's word of pagemap. */
    readonly word: bigint;
  };
  /** By frame; without them all frames are free and not mapped. */
  readonly kpageflags?: (pfn: number) => number;
  readonly kpagecount?: (pfn: number) => number;
}

/** A guest of a few KiB whose one process maps 256 GiB: work by the 4K page is 67 million steps. */
export function buildGibGuest(options: GibGuestOptions): MiniGuest {
  const { memory, entry, vma, kpageflags = () => KPF.KPF_BUDDY, kpagecount = () => 0 } = options;
  const root = memory - 3 * 4096;
  const table = memory - 2 * 4096;
  const tables = new PhysicalPages().entry(root, BigInt(table) | 0x67n);
  for (let gib = 0; gib < GIB_ENTRIES; gib++) tables.entry(table + 8 * gib, entry(gib));
  const starts = vma === undefined ? [] : Array.from({ length: GIB_ENTRIES }, (_, gib) => gib * GIB);
  const lines = starts.map((start) => `${address(start)}-${address(start + 4096)} ${vma!.line}\n`);
  const manifest = {
    name: "gib",
    ...REGISTERS,
    guest_ram: memory,
    pti: false,
    kernel: "6.1.0-56-amd64",
    swap_types: SWAP_TYPES,
    procs: { one: { pid: 11, cr3: hex(root) } },
  };
  return {
    core: buildCore(tables.pages, { ...REGISTERS, cr3: { one: hex(root) } }),
    manifest: text(JSON.stringify(manifest)),
    members: new Map([
      ["pre/one.maps", text(lines.join(""))],
      ["pre/one.smaps", text(lines.map((line) => `${line}VmFlags: ${vma!.flags} \n`).join(""))],
      ["pre/one.pagemap", words(starts.flatMap((start) => [BigInt(start), 1n, vma!.word]))],
      ["pre/SYS.kpagecount", byFrame(memory, kpagecount)],
      ["pre/SYS.kpageflags", byFrame(memory, kpageflags)],
    ]),
  };
}

function address(value: number): string {
  return value.toString(16).padStart(8, "0");
}

function words(values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}

function byFrame(memory: number, word: (pfn: number) => number): Uint8Array {
  const low = new Uint32Array(memory / 2048);
  for (let pfn = 0; pfn < memory / 4096; pfn++) low[2 * pfn] = word(pfn);
  return new Uint8Array(low.buffer);
}
