import { PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
import { loadInto } from "../formats/elf-core.ts";
import { FormatError } from "../formats/format-error.ts";
import { type GuestProcess, type GuestSnapshot, readGuestDirectory } from "../formats/guest-snapshot.ts";
import { isDirectory } from "../formats/gzip.ts";
import { segmentAt } from "../formats/memory-image.ts";
import type { TableMemory } from "../inspect/leaves.ts";
import { linuxPteFormat } from "../inspect/linux-reading.ts";
import { lostLines } from "../inspect/lost-ranges.ts";
import {
  addCounts,
  countEntries,
  emptyCounts,
  mappedPages,
  type ProcessCounts,
} from "../inspect/process-counts.ts";
import { jsonText } from "../text/escape.ts";
import { formatBytes, formatCount, hex } from "../text/hex.ts";
import { type Command, parseArguments, requirePositionals } from "./command.ts";
import type { Terminal } from "./output.ts";
import { snapshotPath } from "./sample.ts";

interface CountedProcess {
  readonly process: GuestProcess;
  readonly counts: ProcessCounts;
}

interface Column {
  readonly name: string;
  readonly right: boolean;
  readonly cell: (counted: CountedProcess) => string;
  readonly total: (all: readonly CountedProcess[], sum: ProcessCounts) => string;
}

export const psCommand: Command = {
  name: "ps",
  summary: "the processes of a guest: roots, mappings, and what their tables hold",
  usage: "SNAPSHOT [--json]",
  options: { json: { help: "the same as JSON" } },
  notes: [
    'SNAPSHOT is a guest directory: manifest.json, pt.elf.gz, proc.tar.gz; or "sample", the guest of ptescope.',
    "Counts come from one scan of the user half's tables. MAPPED is all present and PROT_NONE pages;",
    "PROT_NONE and the page sizes count entries. OTHER is migration, hwpoison, markers and the like.",
  ],

  async run(args, terminal) {
    const parsed = parseArguments(psCommand, args);
    const [name = ""] = requirePositionals(psCommand, parsed, 1);
    const path = snapshotPath(name);
    if (!isDirectory(path)) {
      throw new FormatError(path, null, "a guest directory (manifest.json, pt.elf.gz, proc.tar.gz)");
    }
    const guest = readGuestDirectory(path);
    const counted = countAll(guest, terminal);
    const lines = parsed.has("json")
      ? [jsonText(psObject(guest, counted))]
      : psTable(guest, counted, terminal);
    await terminal.write(lines);
    return 0;
  },
};

function countAll(guest: GuestSnapshot, terminal: Terminal): CountedProcess[] {
  const { core } = guest;
  const memory = new PhysicalMemory(guest.memoryBytes);
  loadInto(memory, core);
  const tables: TableMemory = {
    tableAt: (page) => (segmentAt(core, page) === undefined ? null : memory.tableAt(page)),
  };
  const pteFormat = linuxPteFormat(guest.layout, guest.swapTypes);
  const counted = guest.processes.map((process) => {
    terminal.progress(`counting ${process.name}`);
    const counts = countEntries(tables, process.root, guest.levels, pteFormat, (leaves) => {
      for (const line of lostLines(leaves)) terminal.warn(`ptescope ps: ${process.name}: ${line}`);
    });
    return { process, counts };
  });
  terminal.progress("");
  return counted;
}

function psTable(guest: GuestSnapshot, counted: readonly CountedProcess[], { paint }: Terminal): string[] {
  const sum = sumOf(counted);
  const columns = columnsOf(guest, sum);
  const rows = [
    columns.map(({ name }) => name),
    ...counted.map((one) => columns.map(({ cell }) => cell(one))),
    columns.map(({ total }) => total(counted, sum)),
  ];
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]!.length)));
  const lines = rows.map((row) =>
    row
      .map((cell, index) =>
        columns[index]!.right ? cell.padStart(widths[index]!) : cell.padEnd(widths[index]!),
      )
      .join("  ")
      .trimEnd(),
  );
  const [head = "", ...body] = lines;
  const last = body.pop() ?? "";
  const isolation = guest.pti ? ", page-table isolation" : "";
  const title =
    `${guest.name}: Linux ${guest.kernelRelease} (${guest.layout}), ${formatBytes(guest.memoryBytes)}, ` +
    `${guest.levels} levels${isolation}, ${formatCount(counted.length)} processes`;
  return [paint("heading", title), "", paint("heading", head), ...body, paint("quiet", last)];
}

function columnsOf(guest: GuestSnapshot, sum: ProcessCounts): Column[] {
  const number = (name: string, of: (counts: ProcessCounts) => number): Column => ({
    name,
    right: true,
    cell: ({ counts }) => formatCount(of(counts)),
    total: (_, sum) => formatCount(of(sum)),
  });
  const text = (name: string, of: (process: GuestProcess) => string, total = ""): Column => ({
    name,
    right: false,
    cell: ({ process }) => of(process),
    total: () => total,
  });
  return [
    text("NAME", ({ name }) => name, "total"),
    { ...text("PID", ({ pid }) => `${pid}`), right: true },
    text(guest.pti ? "KERNEL ROOT" : "ROOT", ({ root }) => hex(root)),
    ...(guest.pti ? [text("USER ROOT", ({ userRoot }) => hex(userRoot ?? 0))] : []),
    {
      name: "VMAS",
      right: true,
      cell: ({ process }) => formatCount(process.vmas.length),
      total: (all) => formatCount(all.reduce((count, { process }) => count + process.vmas.length, 0)),
    },
    number("MAPPED KiB", (counts) => mappedPages(counts) * 4),
    number("4K", ({ present4K }) => present4K),
    number("2M", ({ present2M }) => present2M),
    ...(sum.present1G > 0 ? [number("1G", ({ present1G }) => present1G)] : []),
    number("SWAP", ({ swap }) => swap),
    number("PROT_NONE", ({ protNone4K, protNone2M }) => protNone4K + protNone2M),
    number("OTHER", ({ migration, hwpoison, marker, other }) => migration + hwpoison + marker + other),
  ];
}

function psObject(guest: GuestSnapshot, counted: readonly CountedProcess[]): object {
  return {
    format: "ptescope-ps",
    version: 1,
    guest: guest.name,
    kernel: guest.kernelRelease,
    layout: guest.layout,
    levels: guest.levels,
    pti: guest.pti,
    memoryBytes: guest.memoryBytes,
    processes: counted.map(({ process, counts }) => ({
      name: process.name,
      pid: process.pid,
      root: hex(process.root),
      userRoot: process.userRoot === null ? null : hex(process.userRoot),
      vmas: process.vmas.length,
      mappedPages: mappedPages(counts),
      entries: counts,
    })),
  };
}

function sumOf(counted: readonly CountedProcess[]): ProcessCounts {
  const sum = emptyCounts();
  for (const { counts } of counted) addCounts(sum, counts);
  return sum;
}
