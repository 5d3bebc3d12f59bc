import type { AccessKindName } from "./case.ts";
import type { Fact } from "./fact.ts";
import { type AccessDetails, accessStep, T } from "./fixture.ts";

const sup = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "sup", details);
const user = (kind: AccessKindName, details?: AccessDetails) => accessStep(kind, "user", details);

const XD = 1n << 63n;
/** The fixture's PTE and PDE as leaf with protection key 1. */
const KEY1 = 0x0800_0000_0011_0007n;
/** Rights of key 1: access disabled, write disabled. */
const AD1 = { pkru: 0x4n };
const WD1 = { pkru: 0x8n };
const PKE = { pke: true };

/** The walk: A and D, P, combined rights. */
const WALK: readonly Fact[] = [
  { id: "1", title: "a read sets A at every level", run: [[sup("read", { la: T + 0x100n }), "pa 0x110100"]] },
  { id: "2", title: "a write sets D in the leaf alone", run: [[sup("write"), "pa 0x110000"]] },
  { id: "3", title: "a fetch sets A", run: [[user("fetch"), "pa 0x110000"]] },
  {
    id: "4",
    title: "a 2-MiB page",
    pde: 0x20_0087n,
    run: [[sup("write", { la: T + 0x100n }), "pa 0x240100"]],
  },
  { id: "5", title: "a 1-GiB page", pdpte: 0x87n, run: [[sup("read"), "pa 0x40000"]] },
  {
    id: "6",
    title: "P=0 in the PTE; CR2 has the low bits",
    pte: 0x11_0006n,
    run: [[sup("read", { la: T + 0x123n }), "#PF 0x00"]],
  },
  { id: "7", title: "P=0 in the PDE", pde: 0x10_2006n, run: [[sup("read"), "#PF 0x00"]] },
  { id: "8", title: "P=0 in the PDPTE", pdpte: 0x10_1006n, run: [[sup("write"), "#PF 0x02"]] },
  { id: "9", title: "P=0 in the PML4E", pml4e: 0x10_0006n, run: [[sup("write"), "#PF 0x02"]] },
  { id: "10", title: "U/S=0 in the PTE", pte: 0x11_0003n, run: [[user("read"), "#PF 0x05"]] },
  { id: "11", title: "U/S=0 in the PML4E", pml4e: 0x10_0003n, run: [[user("read"), "#PF 0x05"]] },
  {
    id: "12",
    title: "U/S=0 above an entry with P=0: P=0 wins",
    pml4e: 0x10_0003n,
    pte: 0x11_0006n,
    run: [[user("read"), "#PF 0x04"]],
  },
  { id: "13", title: "R/W=0 in the PTE", pte: 0x11_0005n, run: [[user("write"), "#PF 0x07"]] },
  { id: "14", title: "R/W=0 in the PML4E", pml4e: 0x10_0005n, run: [[user("write"), "#PF 0x07"]] },
  { id: "15", title: "R/W=0, WP=1", pte: 0x11_0005n, run: [[sup("write"), "#PF 0x03"]] },
  {
    id: "16",
    title: "R/W=0, WP=0: D on a read-only entry",
    on: { wp: false },
    pte: 0x11_0005n,
    run: [[sup("write"), "pa 0x110000"]],
  },
  { id: "17", title: "XD in the PTE", pte: XD | 0x11_0007n, run: [[user("fetch"), "#PF 0x15"]] },
  { id: "18", title: "XD in the PDE", pde: XD | 0x10_2007n, run: [[sup("fetch"), "#PF 0x11"]] },
  {
    id: "19",
    title: "XD above an entry with P=0: P=0 wins",
    pde: XD | 0x10_2007n,
    pte: 0x11_0006n,
    run: [[user("fetch"), "#PF 0x14"]],
  },
  { id: "20", title: "D=1 and A=0: D stays", pte: 0x11_0047n, run: [[sup("read"), "pa 0x110000"]] },
];

/** Reserved and ignored bits. */
const BITS: readonly Fact[] = [
  { id: "21", title: "PS in a PML4E is reserved", pml4e: 0x10_0087n, run: [[sup("read"), "#PF 0x09"]] },
  {
    id: "22",
    title: "bit 8 of a PML4E is ignored on Intel",
    cpu: { vendor: "intel" },
    pml4e: 0x10_0107n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "22-amd",
    title: "bit 8 of a PML4E is reserved on AMD",
    cpu: { vendor: "amd" },
    pml4e: 0x10_0107n,
    run: [[sup("read"), "#PF 0x09"]],
  },
  {
    id: "23",
    title: "bit 8 of a PDPTE that points to a table is ignored",
    pdpte: 0x10_1107n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "23-amd",
    title: "the same on AMD",
    cpu: { vendor: "amd" },
    pdpte: 0x10_1107n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "24",
    title: "bit 8 of a PDE that points to a table is ignored",
    pde: 0x10_2107n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "25",
    title: "bit 6 is ignored in entries that point to a table",
    pml4e: 0x10_0047n,
    pdpte: 0x10_1047n,
    pde: 0x10_2047n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "26",
    title: "bit 13 of a 2-MiB leaf is reserved",
    pde: 0x20_2087n,
    run: [[sup("read"), "#PF 0x09"]],
  },
  {
    id: "27",
    title: "bit 12 of a 2-MiB leaf is PAT, not address",
    pde: 0x20_1087n,
    run: [[sup("read"), "pa 0x240000"]],
  },
  {
    id: "28",
    title: "bit 20 of a 2-MiB leaf is reserved",
    pde: 0x30_0087n,
    run: [[user("write"), "#PF 0x0f"]],
  },
  { id: "29", title: "bit 13 of a 1-GiB leaf is reserved", pdpte: 0x2087n, run: [[sup("read"), "#PF 0x09"]] },
  {
    id: "30",
    title: "bit 29 of a 1-GiB leaf is reserved",
    pdpte: 0x2000_0087n,
    run: [[sup("read"), "#PF 0x09"]],
  },
  {
    id: "31",
    title: "bit 12 of a 1-GiB leaf is PAT, not address",
    pdpte: 0x1087n,
    run: [[sup("read"), "pa 0x40000"]],
  },
  {
    id: "32",
    title: "bit 51 is reserved below MAXPHYADDR 52",
    pte: 0x0008_0000_0011_0007n,
    run: [[sup("read"), "#PF 0x09"]],
  },
  {
    id: "33",
    title: "a reserved bit above an entry with P=0: met first",
    pde: 0x0000_0100_0010_2007n,
    pte: 0x11_0006n,
    run: [[user("read"), "#PF 0x0d"]],
  },
  {
    id: "34",
    title: "reserved bits do not count where P=0",
    pte: 0x0008_0000_0011_0006n,
    run: [[sup("read"), "#PF 0x00"]],
  },
  {
    id: "35",
    title: "bit 7 of a PTE is PAT, not a page size",
    pte: 0x11_0087n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "36",
    title: "bits 58:52 of a PTE are ignored",
    pte: 0x07f0_0000_0011_0007n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "37",
    title: "NXE=0: bit 63 is reserved",
    on: { nxe: false },
    pte: XD | 0x11_0007n,
    run: [[sup("read"), "#PF 0x09"]],
  },
  {
    id: "38",
    title: "NXE=0, SMEP=0: a fetch does not report I/D",
    on: { nxe: false },
    pte: XD | 0x11_0007n,
    run: [[user("fetch"), "#PF 0x0d"]],
  },
  {
    id: "39",
    title: "NXE=0, SMEP=0: nor where P=0",
    on: { nxe: false },
    pte: 0x11_0006n,
    run: [[user("fetch"), "#PF 0x04"]],
  },
  {
    id: "40",
    title: "NXE=0, SMEP=1: a fetch reports I/D",
    on: { nxe: false, smep: true },
    pte: 0x11_0006n,
    run: [[user("fetch"), "#PF 0x14"]],
  },
];

/** SMEP, SMAP and protection keys. */
const MODES: readonly Fact[] = [
  { id: "41", title: "SMEP", on: { smep: true }, run: [[sup("fetch"), "#PF 0x11"]] },
  {
    id: "42",
    title: "SMEP: one U/S=0 makes it a supervisor page",
    on: { smep: true },
    pde: 0x10_2003n,
    run: [[sup("fetch"), "pa 0x110000"]],
  },
  { id: "43", title: "SMAP, AC=0", on: { smap: true }, run: [[sup("read"), "#PF 0x01"]] },
  { id: "44", title: "SMAP, AC=1", on: { smap: true }, run: [[sup("read", { ac: true }), "pa 0x110000"]] },
  {
    id: "45",
    title: "SMAP counts at each use: AC=1, then AC=0 with nothing flushed",
    on: { smap: true },
    run: [
      [sup("read", { ac: true }), "pa 0x110000"],
      [sup("read"), "#PF 0x01"],
    ],
  },
  { id: "46", title: "SMAP leaves fetches alone", on: { smap: true }, run: [[sup("fetch"), "pa 0x110000"]] },
  {
    id: "47",
    title: "SMAP with WP=0 and R/W=0",
    on: { smap: true, wp: false },
    pte: 0x11_0005n,
    run: [[sup("write"), "#PF 0x03"]],
  },
  {
    id: "48",
    title: "SMAP stops the CPU's own reads even with AC=1",
    on: { smap: true },
    run: [[sup("implicit_read", { ac: true }), "#PF 0x01"]],
  },
  {
    id: "49",
    title: "key denies access to a user",
    on: PKE,
    registers: AD1,
    pte: KEY1,
    run: [[user("read"), "#PF 0x25"]],
  },
  {
    id: "50",
    title: "and to the supervisor",
    on: PKE,
    registers: AD1,
    pte: KEY1,
    run: [[sup("read"), "#PF 0x21"]],
  },
  {
    id: "51",
    title: "keys leave fetches alone",
    on: PKE,
    registers: AD1,
    pte: KEY1,
    run: [[user("fetch"), "pa 0x110000"]],
  },
  {
    id: "52",
    title: "PKRU leaves supervisor pages alone: U/S=0 above the leaf",
    on: PKE,
    registers: AD1,
    pte: KEY1,
    pde: 0x10_2003n,
    run: [[sup("read"), "pa 0x110000"]],
  },
  {
    id: "53",
    title: "U/S=0 in the leaf: no PK in the error code",
    on: PKE,
    registers: AD1,
    pte: 0x0800_0000_0011_0003n,
    run: [[user("read"), "#PF 0x05"]],
  },
  {
    id: "54",
    title: "key denies writes",
    on: PKE,
    registers: WD1,
    pte: KEY1,
    run: [[user("write"), "#PF 0x27"]],
  },
  {
    id: "55",
    title: "PK is reported also with R/W=0",
    on: PKE,
    registers: WD1,
    pte: 0x0800_0000_0011_0005n,
    run: [[user("write"), "#PF 0x27"]],
  },
  {
    id: "56-wp1",
    title: "key denies supervisor writes with WP=1",
    on: PKE,
    registers: WD1,
    pte: KEY1,
    run: [[sup("write"), "#PF 0x23"]],
  },
  {
    id: "56-wp0",
    title: "and allows them with WP=0",
    on: { ...PKE, wp: false },
    registers: WD1,
    pte: KEY1,
    run: [[sup("write"), "pa 0x110000"]],
  },
  {
    id: "57",
    title: "P=0: no PK in the error code",
    on: PKE,
    registers: AD1,
    pte: 0x0800_0000_0011_0006n,
    run: [[user("read"), "#PF 0x04"]],
  },
  {
    id: "58",
    title: "reserved bit: no PK in the error code",
    on: PKE,
    registers: AD1,
    pde: 0x0800_0000_0020_2087n,
    run: [[user("read"), "#PF 0x0d"]],
  },
  {
    id: "59",
    title: "PKRU counts at each use",
    on: PKE,
    pte: KEY1,
    run: [
      [user("read"), "pa 0x110000"],
      [{ op: "control", ...AD1 }, "done"],
      [user("read"), "#PF 0x25"],
    ],
  },
  {
    id: "60",
    title: "PKRS guards supervisor pages",
    on: { pks: true },
    registers: { pkrs: 0x4n },
    pte: 0x0800_0000_0011_0003n,
    run: [[sup("read"), "#PF 0x21"]],
  },
  {
    id: "61",
    title: "PKRS denies no write with WP=0",
    on: { pks: true, wp: false },
    registers: { pkrs: 0x8n },
    pte: 0x0800_0000_0011_0003n,
    run: [[sup("write"), "pa 0x110000"]],
  },
];

/** Facts of one access, or of one right after another with nothing changed between. */
export const ACCESS_FACTS: readonly Fact[] = [...WALK, ...BITS, ...MODES];
