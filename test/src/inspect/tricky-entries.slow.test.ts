import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MODE_SUPERVISOR } from "../../../arch/x86/cpu/access-rights.ts";
import { ControlRegisters } from "../../../arch/x86/cpu/control-registers.ts";
import { cpuModel } from "../../../arch/x86/cpu/cpu-model.ts";
import { PTE_U, PTE_W, PTE_XD } from "../../../arch/x86/cpu/entry-layout.ts";
import { isCanonical, linearHi, linearLo } from "../../../arch/x86/cpu/linear-address.ts";
import { WALK_NOT_PRESENT, WALK_RESERVED } from "../../../arch/x86/cpu/page-fault.ts";
import { INSPECT, WalkResult, walk } from "../../../arch/x86/cpu/page-walk.ts";
import {
  TRICKY_BYTES,
  TRICKY_ENTRIES,
  TRICKY_MAXPHYADDR,
  TRICKY_ROOT,
  TRICKY_WORDS,
  type TrickyEntry,
  type TrickyPage,
} from "../../../src/conform/tricky-entries.ts";
import { LeafCursor, pageBytes } from "../../../src/inspect/leaves.ts";
import { trickyMemory, writeTrickyLime, writeTrickyRaw } from "../../support/tricky-image.ts";
import { runHere } from "../cli/test-terminal.ts";
import { randomNumbers } from "./table-builder.ts";

const folder = mkdtempSync(join(tmpdir(), "tricky-"));
const files = { raw: join(folder, "t.raw"), lime: join(folder, "t.lime") };
beforeAll(() => {
  writeTrickyRaw(files.raw);
  writeTrickyLime(files.lime);
});
afterAll(() => rmSync(folder, { recursive: true }));

const WHERE = ["--cr3", "1000"];
const CPU = ["--maxphyaddr", String(TRICKY_MAXPHYADDR)];
/** The nineteen of the published table; the others are ours. */
const PUBLISHED = 19;

async function lines(...args: readonly string[]): Promise<string[]> {
  const { status, output, errors } = await runHere(args);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  return output.trimEnd().split("\n");
}

/** The ids of the entries for which the claim is not what the CPU does. */
function wrong(isRight: (entry: TrickyEntry) => boolean): number[] {
  return TRICKY_ENTRIES.filter((entry) => !isRight(entry)).map(({ id }) => id);
}

function pageStart({ la, end }: TrickyEntry): bigint {
  return la - (la % BigInt(end.kind === "page" ? end.bytes : 0x1000));
}

function physicalStart({ pa, bytes }: TrickyPage): number {
  return pa - (pa % bytes);
}

test("the words are disjoint and in the image, the addresses different", () => {
  const places = TRICKY_WORDS.map(({ pa }) => pa);
  expect(new Set(places).size).toBe(places.length);
  expect(places.every((pa) => pa % 8 === 0 && pa < TRICKY_BYTES)).toBe(true);
  expect(new Set(TRICKY_ENTRIES.map(({ la }) => la)).size).toBe(TRICKY_ENTRIES.length);
  expect(TRICKY_ENTRIES.map(({ id }) => id)).toEqual(Array.from({ length: 22 }, (_, index) => index + 1));
});

describe("walk", () => {
  const ACCESSES = ["read", "write", "fetch"].flatMap((kind) =>
    (["user", "supervisor"] as const).map((mode) => ({ kind, mode })),
  );

  /** Error code of #PF, or null when the access is done (SDM vol. 3, 4.7; WP and NXE on, no SMEP, no SMAP). */
  function expectedError(entry: TrickyEntry, kind: string, mode: string): number | null {
    const { end } = entry;
    const user = mode === "user";
    const access = (kind === "write" ? 2 : 0) | (user ? 4 : 0) | (kind === "fetch" ? 0x10 : 0);
    if (end.kind === "not-present") return access;
    if (end.kind === "reserved-bit") return access | 9;
    if (end.kind === "non-canonical") return null;
    const allowed =
      (!user || end.user) && (kind !== "write" || end.write) && (kind !== "fetch" || end.execute);
    return allowed ? null : access | 1;
  }

  interface Walk {
    end: { kind: string; physical?: string; pageBytes?: number; errorCode?: number };
    steps: { rights: { write: boolean; execute: boolean; user: boolean } }[];
  }

  test.each(ACCESSES)("$mode $kind: nothing wrong, from raw memory and from LiME", async ({ kind, mode }) => {
    const addresses = TRICKY_ENTRIES.map(({ la }) => la.toString(16));
    const flags = kind === "read" ? [] : [`--${kind}`];
    for (const file of Object.values(files)) {
      const args = ["walk", file, ...WHERE, ...CPU, ...addresses, ...flags, `--${mode}`, "--json"];
      const { walks } = JSON.parse((await runHere(args)).output) as { walks: Walk[] };
      const found = wrong((entry) => {
        const { end, steps } = walks[TRICKY_ENTRIES.indexOf(entry)]!;
        const error = expectedError(entry, kind, mode);
        if (entry.end.kind === "non-canonical") return end.kind === "non-canonical";
        if (error !== null && (end.kind !== "fault" || end.errorCode !== error)) return false;
        if (entry.end.kind !== "page") return end.kind === "fault";
        const { write, execute, user, pa, bytes } = entry.end;
        const rights = steps.at(-1)!.rights;
        const same = rights.write === write && rights.execute === execute && rights.user === user;
        if (error !== null) return same;
        return same && end.physical === `0x${pa.toString(16)}` && end.pageBytes === bytes;
      });
      expect(found).toEqual([]);
    }
  });
});

describe("dump", () => {
  /** What a listing says of an address, or null when it is not listed. */
  interface Row {
    start: string;
    length: number;
    physical: string | null;
    page: string;
    read: boolean;
    write: boolean;
    execute: boolean;
    user: boolean;
    global: boolean;
    reserved: boolean;
    accessedPages: number;
    dirtyPages: number;
    aliases: { linear: string }[];
  }
  const rowAt = (rows: readonly Row[], la: bigint): Row | undefined =>
    rows.find(({ start, length }) => la >= BigInt(start) && la < BigInt(start) + BigInt(length));
  const readRows = async (...cpu: readonly string[]): Promise<Row[]> => {
    const { output } = await runHere(["dump", files.raw, ...WHERE, ...cpu, "--json"]);
    return (JSON.parse(output) as { ranges: Row[] }).ranges;
  };

  /** The ids that a JSON dump gets wrong. */
  function wrongRows(rows: readonly Row[]): number[] {
    return wrong((entry) => {
      const row = rowAt(rows, entry.la);
      const { end } = entry;
      if (end.kind === "not-present" || end.kind === "non-canonical") return row === undefined;
      if (row === undefined) return false;
      if (end.kind === "reserved-bit") return row.reserved && !row.read && row.physical === null;
      const pages = row.length / end.bytes;
      return (
        row.read &&
        BigInt(row.physical!) + (entry.la - BigInt(row.start)) === BigInt(end.pa) &&
        row.write === end.write &&
        row.execute === end.execute &&
        row.user === end.user &&
        row.global === end.global &&
        row.accessedPages === (end.accessed ? pages : 0) &&
        row.dirtyPages === (end.dirty ? pages : 0)
      );
    });
  }

  test("--json: nothing wrong", async () => {
    expect(wrongRows(await readRows(...CPU))).toEqual([]);
  });

  test("the judge can fail: a CPU with 52 bits maps case 12", async () => {
    expect(wrongRows(await readRows("--maxphyaddr", "52"))).toEqual([12]);
  });

  test("the table: nothing wrong, the same from LiME", async () => {
    const table = await lines("dump", files.raw, ...WHERE, ...CPU);
    const other = await lines("dump", files.lime, ...WHERE, ...CPU);
    expect(other.slice(1)).toEqual(table.slice(1));
    const found = wrong((entry) => {
      const start = pageStart(entry).toString(16).padStart(16, "0");
      const line = table.find((text) => text.startsWith(`${start}-`));
      const { end } = entry;
      if (end.kind === "not-present" || end.kind === "non-canonical") return line === undefined;
      if (end.kind === "reserved-bit")
        return / {2}--- fault {2}.*reserved bit set: every access faults/.test(line ?? "");
      const rights = `r${end.write ? "w" : "-"}${end.execute ? "x" : "-"}`;
      const physical = physicalStart(end).toString(16).padStart(13, "0");
      const flags = `${end.accessed ? "A" : "-"}${end.dirty ? "D" : "-"}${end.global ? "G" : "-"}`;
      const wanted = new RegExp(
        `  ${physical}  (4K|2M|1G)  +${rights} ${end.user ? "user" : "kernel"} +${flags}`,
      );
      return wanted.test(line ?? "");
    });
    expect(found).toEqual([]);
  });

  test("aliases are shown with each other, shared tables or not", async () => {
    const rows = await readRows(...CPU);
    const others = (id: number): string[] => {
      const entry = TRICKY_ENTRIES.find((candidate) => candidate.id === id)!;
      return rowAt(rows, entry.la)!.aliases.map(({ linear }) => linear);
    };
    expect(others(17)).toContain("0x20000000000");
    expect(others(18)).toContain("0x18000000000");
    expect(others(1)).toContain("0x82000000");
    expect(others(22)).toEqual([]);
  });

  test("--as bochs: nothing wrong", async () => {
    const listing = await lines("dump", files.raw, ...WHERE, ...CPU, "--as", "bochs");
    const ranges = listing.map((line) => {
      const [, start, end, at] = /^0x(\w+)-0x(\w+) -> 0x(\w+)-0x(\w+)$/.exec(line)!;
      return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), physical: BigInt(`0x${at}`) };
    });
    const found = wrong(({ la, end }) => {
      const range = ranges.find(({ start, end: last }) => la >= start && la <= last);
      if (end.kind !== "page") return range === undefined;
      return range !== undefined && range.physical + (la - range.start) === BigInt(end.pa);
    });
    expect(found).toEqual([]);
  });

  test("--as pt is gdb-pt-dump's: as right and as wrong as the real one", async () => {
    const [, ...listing] = await lines("dump", files.raw, ...WHERE, "--as", "pt", "--phys");
    const ranges = listing.map((line) => {
      const [, start, length, at, flags] =
        / (0x\w+) : +(0x\w+) : +(0x\w+) \| (W:\d X:\d S:\d) UC:\d WB:\d/.exec(line)!;
      const first = BigInt(start!);
      return { start: first, end: first + BigInt(length!) - 1n, physical: BigInt(at!), flags };
    });
    const found = wrong(({ la, end }) => {
      const range = ranges.find(({ start, end: last }) => la >= start && la <= last);
      if (end.kind !== "page") return range === undefined;
      if (range === undefined || range.physical + (la - range.start) !== BigInt(end.pa)) return false;
      return range.flags === `W:${+end.write} X:${+end.execute} S:${+!end.user}`;
    });
    expect(found.filter((id) => id <= PUBLISHED)).toEqual([2, 3, 4, 11, 12, 18]);
  });

  test("--as crash: nothing wrong", async () => {
    const listing = (await lines("dump", files.raw, ...WHERE, ...CPU, "--as", "crash")).join("\n");
    const pages = new Map(
      [...listing.matchAll(/^VIRTUAL +PHYSICAL\n(\w+) +(\S+)$/gm)].map(([, start, at]) => [start!, at!]),
    );
    const found = wrong((entry) => {
      const at = pages.get(pageStart(entry).toString(16));
      if (entry.end.kind !== "page") return at === undefined;
      // A page whose rights and frame go on where the one before ends is no range of its own.
      const joined = at === undefined && pages.has((pageStart(entry) - 0x1000n).toString(16));
      return joined || at === physicalStart(entry.end).toString(16);
    });
    expect(found).toEqual([]);
  });

  test("QEMU's listings are QEMU's: as right and as wrong as the real ones", async () => {
    const tlb = await lines("dump", files.raw, ...WHERE, "--as", "qemu-tlb");
    const entries = new Map(tlb.map((line) => [line.slice(0, 16), line.slice(18)]));
    const tlbWrong = wrong((entry) => {
      const line = entries.get(pageStart(entry).toString(16).padStart(16, "0"));
      const { end } = entry;
      if (end.kind !== "page") return line === undefined;
      if (line === undefined || !line.startsWith(physicalStart(end).toString(16).padStart(16, "0")))
        return false;
      const has = (letter: string): boolean => line.slice(17).includes(letter);
      return has("W") === end.write && has("U") === end.user && has("X") === !end.execute;
    });
    expect(tlbWrong.filter((id) => id <= PUBLISHED)).toEqual([2, 3, 4, 11, 12]);

    const mem = await lines("dump", files.raw, ...WHERE, "--as", "qemu-mem");
    const ranges = mem.map((line) => {
      const [, start, end, rights] = /^(\w+)-(\w+) \w+ (...)$/.exec(line)!;
      return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), rights: rights! };
    });
    const memWrong = wrong(({ la, end }) => {
      const range = ranges.find((candidate) => la >= candidate.start && la < candidate.end);
      if (end.kind !== "page") return range === undefined;
      // There is no letter for XD. The published table counts that against the user page, not the kernel's.
      return (
        range?.rights === `${end.user ? "u" : "-"}r${end.write ? "w" : "-"}` && (end.execute || !end.user)
      );
    });
    expect(memWrong.filter((id) => id <= PUBLISHED)).toEqual([4, 11, 12]);
  });
});

describe("walk --as", () => {
  const addresses = TRICKY_ENTRIES.map(({ la }) => la.toString(16));

  test("bochs page: nothing wrong", async () => {
    const answers = (await lines("walk", files.raw, ...WHERE, ...CPU, ...addresses, "--as", "bochs")).filter(
      (line) => /^linear|^physical/.test(line),
    );
    const found = wrong((entry) => {
      const answer = answers[TRICKY_ENTRIES.indexOf(entry)]!;
      const linear = (address: bigint): string => `0x${address.toString(16).padStart(16, "0")}`;
      if (entry.end.kind !== "page")
        return answer === `physical address not available for linear ${linear(entry.la)}`;
      const physical = `0x${physicalStart(entry.end).toString(16).padStart(12, "0")}`;
      return answer === `linear page ${linear(pageStart(entry))} maps to physical page ${physical}`;
    });
    expect(found).toEqual([]);
  });

  test("pt -walk knows no fault but a page that is not present, and fails at XD in a table's entry", async () => {
    const args = ["walk", files.raw, ...WHERE, ...addresses, "--as", "pt"];
    const { status, output, errors } = await runHere(args);
    expect(status).toBe(0);
    const walks = output.split(/^(?=Page table walk)/m);
    const faulted = wrong(
      (entry) => !walks[TRICKY_ENTRIES.indexOf(entry)]!.includes("!!! Last stage faulted !!!"),
    );
    expect(faulted.filter((id) => id <= PUBLISHED)).toEqual([8, 9]);
    const [fourth] = TRICKY_ENTRIES.filter(({ id }) => id === 4).map(({ la }) => la.toString(16));
    expect(errors).toContain(
      `ptescope walk: 0x${fourth}: gdb-pt-dump prints the traceback of an exception here: bits 63:52 of PML4`,
    );
  });

  test("crash vtop: nothing wrong; PROT_NONE has its page, as crash has it", async () => {
    const vtops = (await lines("walk", files.raw, ...WHERE, ...CPU, ...addresses, "--as", "crash"))
      .join("\n")
      .split(/^(?=VIRTUAL)/m);
    const found = wrong((entry) => {
      const physical = /^\w+ +(.*)$/m.exec(vtops[TRICKY_ENTRIES.indexOf(entry)]!.split("\n")[1]!)![1]!;
      if (entry.id === 9) return vtops[TRICKY_ENTRIES.indexOf(entry)]!.includes("(ACCESSED|PROTNONE)");
      return physical === (entry.end.kind === "page" ? entry.end.pa.toString(16) : "(not mapped)");
    });
    expect(found).toEqual([]);
  });
});

describe("everything a dump lists is what a walk finds, self-mapping tables included", () => {
  const memory = trickyMemory();
  const control = new ControlRegisters({ ...cpuModel("intel-skylake-sp"), maxPhyAddr: TRICKY_MAXPHYADDR });
  control.setRoot(TRICKY_ROOT, 0);
  const result = new WalkResult();
  const walkTo = (address: bigint): number =>
    walk(memory, control, linearLo(address), linearHi(address), 0, MODE_SUPERVISOR, INSPECT, result);
  const cursor = (): LeafCursor => new LeafCursor(memory, TRICKY_ROOT, 4, { reserved: control });

  test("page by page", () => {
    let pages = 0;
    for (const leaves = cursor(); leaves.next(); pages++) {
      const code = walkTo(BigInt(leaves.linear));
      expect(code === WALK_RESERVED, `0x${leaves.linear.toString(16)}`).toBe(leaves.reserved);
      const { level, lo, hi } = result;
      expect({ level, lo, hi }).toEqual({ level: leaves.level, lo: leaves.lo, hi: leaves.hi });
      if (leaves.reserved) continue;
      const rights = (leaves.every & (PTE_W | PTE_U)) | ((leaves.any & PTE_XD) === 0 ? 0 : 8);
      expect(result.rights & 0xe).toBe(rights);
    }
    expect(pages).toBeGreaterThan(40);
  });

  test("address by address: random ones, and those beside every page", () => {
    const listed: { start: bigint; end: bigint }[] = [];
    for (const leaves = cursor(); leaves.next(); ) {
      const start = BigInt(leaves.linear);
      listed.push({ start, end: start + BigInt(pageBytes(leaves.level)) });
    }
    const seed = 4711;
    const random = randomNumbers(seed);
    const probes = listed.flatMap(({ start, end }) => [start - 1n, start, end - 1n, end]);
    for (let count = 0; count < 5000; count++) {
      // Few indices are in use: draw from them more often than from all.
      const index = (): bigint => BigInt([0, 1, 2, 3, 4, 256, 510, random(512)][random(8)]!);
      const low = (index() << 39n) | (index() << 30n) | (index() << 21n) | (index() << 12n);
      probes.push(low >> 47n === 0n ? low : low | 0xffff_0000_0000_0000n);
    }
    for (const probe of probes) {
      if (probe < 0n || probe >> 64n !== 0n || !isCanonical(linearHi(probe), 4)) continue;
      const inList = listed.some(({ start, end }) => probe >= start && probe < end);
      expect(walkTo(probe) !== WALK_NOT_PRESENT, `seed ${seed}, 0x${probe.toString(16)}`).toBe(inList);
    }
  });
});
