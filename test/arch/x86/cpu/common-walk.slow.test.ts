import { expect, test } from "vitest";
import { walkCommonly } from "../../../../arch/x86/cpu/common-walk.ts";
import { walkGenerally } from "../../../../arch/x86/cpu/page-walk.ts";
import {
  type ControlState,
  type CpuModel,
  cpuModel,
  HARDWARE_WALK,
  WalkResult,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, PDE, PDPTE, PML4E, PTE, T } from "./fixture.ts";

const AD = 0x60n;
const XD = 1n << 63n;
const KEY = 5n << 59n;
/** What an entry may be, beside its frame: every bit that a walk looks at, clear and set; one bit beyond MAXPHYADDR. */
const FLAGS = [0n, 1n, 7n, 0x27n, 7n | AD, 5n | AD, 3n | AD, 0x41n, 0x21n, 0x87n | AD, 0x187n | AD];
const HIGH = [0n, XD, KEY, XD | KEY, 1n << 45n];
const UPPER = FLAGS.flatMap((flags) => (flags === (7n | AD) ? HIGH.map((high) => flags | high) : [flags]));
const LEAF = FLAGS.flatMap((flags) => HIGH.slice(0, flags > 5n ? 5 : 1).map((high) => flags | high));
/** Of a table or a page: in memory; beyond 4 GiB; behind the memory's end. */
const FRAMES = [0n, 1n << 32n, 1n << 30n];

const MODELS: readonly CpuModel[] = [MODEL, cpuModel("amd-zen3")];
const STATES: readonly Partial<ControlState>[] = [
  {},
  { wp: false, nxe: false },
  { smep: true, smap: true, pke: true, pkru: 0x400 },
];
const SUPERVISOR_KEYS: Partial<ControlState> = { pks: true, pkrs: 0x800 };
const KINDS = [0, 1, 2, 4, 5];
const MODES = [0, 1, 2, 3];

/** All that a walk tells, but for what it keeps of a path. */
function told(result: WalkResult): unknown[] {
  const { code, denied, top, level, lo, hi, tableLo, tableHi, above, dirty, rights, linearLo, linearHi } =
    result;
  return [code, denied, top, level, lo, hi, tableLo, tableHi, above, dirty, rights, linearLo, linearHi];
}

/** Every access to what the fixture's entries are now, by both; how many walks were common. */
function compare(f: Fixture, ours: WalkResult, theirs: WalkResult): number {
  const { memory } = f.machine;
  const { control } = f.cpu;
  const before = [PML4E, PDPTE, PDE, PTE].map((address) => f.get(address));
  let common = 0;
  for (const kind of KINDS) {
    for (const mode of MODES) {
      ours.linearLo = theirs.linearLo = (T + 0x123) | 0;
      ours.linearHi = theirs.linearHi = 0x80;
      if (!walkCommonly(memory, control, kind, mode, ours)) continue;
      common++;
      walkGenerally(memory, control, kind, mode, HARDWARE_WALK, theirs);
      const where = before.map((entry) => entry.toString(16)).join(" ");
      const found = told(ours);
      const expected = told(theirs);
      if (found.some((value, i) => value !== expected[i])) expect(found, where).toEqual(expected);
      if (before.some((entry, i) => f.get([PML4E, PDPTE, PDE, PTE][i]!) !== entry)) expect.unreachable(where);
    }
  }
  return common;
}

test.each([
  ...MODELS.flatMap((model) => STATES.map((state) => ({ name: model.name, model, state }))),
  { name: MODEL.name, model: MODEL, state: SUPERVISOR_KEYS },
])("on $name with $state the unrolled walk finds what the loop finds", ({ model, state }) => {
  const f = new Fixture({ model });
  expect(f.cpu.setControl(state)).toMatchObject({ ok: true });
  const ours = new WalkResult();
  const theirs = new WalkResult();
  let common = 0;
  const good = 7n | AD;
  for (const beyond of FRAMES) {
    for (const pde of UPPER) {
      for (const pte of LEAF) {
        f.set(PDE, pde | ((pde & 0x80n) !== 0n ? 0n : 0x10_2000n) | beyond).set(PTE, pte | 0x11_0000n);
        for (const upper of UPPER) {
          f.set(PML4E, upper | 0x10_0000n).set(PDPTE, good | 0x10_1000n);
          common += compare(f, ours, theirs);
          f.set(PML4E, good | 0x10_0000n).set(PDPTE, upper | 0x10_1000n | beyond);
          common += compare(f, ours, theirs);
        }
      }
    }
  }
  for (const beyond of FRAMES) {
    f.set(PML4E, good | 0x10_0000n | beyond)
      .set(PDPTE, good | 0x10_1000n)
      .set(PDE, good | 0x10_2000n);
    f.set(PTE, good | 0x11_0000n | beyond);
    common += compare(f, ours, theirs);
  }
  expect(common).toBeGreaterThan(1000);
});

test.each(["five levels", "shared memory", "keys by another rule"])("%s is left to the loop", (what) => {
  const f = new Fixture(
    what === "five levels"
      ? { levels: 5 }
      : what === "shared memory"
        ? { memory: new SharedArrayBuffer(2 ** 24) }
        : { model: { ...MODEL, keyPage: "every" } },
  );
  const result = new WalkResult();
  result.linearLo = T | 0;
  result.linearHi = 0x80;
  for (const [address, next] of [
    [PML4E, PDPTE],
    [PDPTE, PDE],
    [PDE, PTE - 0x200],
    [PTE, 0x11_0000],
  ] as const) {
    f.set(address, BigInt(next) | 0x67n);
  }
  expect(walkCommonly(f.machine.memory, f.cpu.control, 0, 0, result)).toBe(false);
  expect(f.access("read")).toBe("ok");
});
