import { describe, expect, it } from "vitest";
import { interruptHandlerOf, walkerOf } from "../../../../arch/x86/cpu/cpu-report.ts";
import {
  ALL_PCIDS,
  type Cpu,
  type CpuModel,
  cpuModel,
  type Encoding,
  type Fields,
  HARDWARE_FIELDS,
  HARDWARE_KINDS,
  type HardwareRecord,
  type HardwareRecordOf,
  invlpgb,
  invpcid,
  linearHi,
  linearLo,
  type Machine,
  NO_FLUSH,
  NONE,
  OUTSIDE_AGENT,
  tlbsync,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, outcome, PAGE_B, PTE, ROOT, T } from "./fixture.ts";

const AMD: CpuModel = { ...cpuModel("amd-zen4"), name: "fixture-amd", maxPhyAddr: 40 };

/** Everything that a machine records from now on. */
function listen(machine: Machine): HardwareRecord[] {
  const records: HardwareRecord[] = [];
  machine.records.listen((record) => records.push(record));
  return records;
}

/** Something of every kind that a CPU records, on two CPUs. */
function history({ machine, cpu }: Fixture): void {
  const other = machine.cpu(1);
  other.loadCr3(ROOT);
  cpu.store(T + 0xffc, 1);
  machine.storeEntry(PTE + 8, 0x11_1007, 0, null);
  cpu.store(T + 0xffc, 1);
  other.cpl = 3;
  other.load(T);
  other.touch(T, false);
  other.cpl = 0;
  cpu.setControl({ pcide: true, smep: true, pkru: 4 });
  cpu.setPat(0x0007_0406_0007_0406n);
  machine.sendIpi(0, 1, (target) => target.invlpg(T));
  other.handleIpis();
  machine.records.introduce("task", 0, "a task");
}

const words = (address: number) => ({ linearLo: linearLo(address), linearHi: linearHi(address) });

describe("the records of a CPU", () => {
  /** Names of a record's own fields, as its kind's row has them. */
  function fieldsOf(kind: HardwareRecord["kind"]): string[] {
    return HARDWARE_KINDS[kind].has.flatMap((name) => {
      const { is } = HARDWARE_FIELDS[name];
      return is === "linear" || is === "entry" ? [`${name}Lo`, `${name}Hi`] : [name];
    });
  }

  function isHeldAs(is: Encoding, value: unknown): boolean {
    if (typeof is === "object") return is.includes(value as string);
    if (is === "flag") return typeof value === "boolean";
    if (is === "text") return typeof value === "string";
    if (is === "linear" || is === "entry") return value === (value as number) >> 0;
    return Number.isSafeInteger(value);
  }

  it("begin with kind, seq, agent, cpu and space, then have the fields of their kind", () => {
    const f = new Fixture({ cpus: 2 });
    const records = listen(f.machine);
    history(f);
    for (const record of records) {
      const names = Object.keys(record);
      expect(names.slice(0, 5)).toEqual(["kind", "seq", "agent", "cpu", "space"]);
      expect(names.slice(5)).toEqual(fieldsOf(record.kind));
      for (const name of names.slice(5)) {
        const field = (HARDWARE_FIELDS as Fields)[name] ?? (HARDWARE_FIELDS as Fields)[name.slice(0, -2)];
        const value: unknown = record[name as keyof HardwareRecord];
        expect(isHeldAs(field!.is, value), `${record.kind} ${name} ${value}`).toBe(true);
      }
      expect([record.space, Number.isInteger(record.agent)]).toEqual([NONE, true]);
    }
    // Only what this machine never does is missing: it does not wait, and it loses nothing.
    const kinds = new Set(records.map(({ kind }) => kind));
    const missing = Object.keys(HARDWARE_KINDS).filter((kind) => !kinds.has(kind as HardwareRecord["kind"]));
    expect(missing).toEqual(["halted", "gap"]);
  });

  it("are numbered: each number is one above the last", () => {
    const f = new Fixture({ cpus: 2 });
    const records = listen(f.machine);
    const before = f.machine.records.seq;
    history(f);
    expect(records.length).toBeGreaterThan(20);
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, i) => before + 1 + i));
    expect(f.machine.records.seq).toBe(before + records.length);
  });

  it("name who did it: software as it says, walks their walker", () => {
    const f = new Fixture();
    const { records } = f.machine;
    expect(records.agent).toBe(OUTSIDE_AGENT);
    const task = records.introduce("task", 0, "a task");
    expect(records.agents[task]).toEqual({ id: task, type: "task", cpu: 0, name: "a task" });
    expect(records.agents[walkerOf(0)]).toMatchObject({ type: "walker", cpu: 0 });
    const heard = listen(f.machine);
    records.agent = task;
    f.machine.storeEntry(PTE, 0x11_0007, 0, 0);
    f.cpu.load(T);
    f.cpu.invlpg(T);
    const byWalker = new Set(["accessed-dirty-set", "tlb-filled"]);
    expect(heard.map(({ kind }) => kind)).toEqual([
      "entry-written",
      ...Array(4).fill("accessed-dirty-set"),
      "tlb-filled",
      "access",
      "invalidated",
    ]);
    for (const { kind, agent } of heard) expect(agent).toBe(byWalker.has(kind) ? walkerOf(0) : task);
  });

  it("tell each access of one that crosses pages, and each fault once, whatever raised it", () => {
    const f = new Fixture().set(PTE + 8, 0x11_1007n);
    const records = listen(f.machine);
    f.cpu.store(T + 0xffa, 0);
    f.cpu.readModifyWrite(T, (old) => old);
    f.cpu.fetch(T);
    expect(outcome(f.cpu.load(T + 0x2000))).toBe("#PF 0x00");
    expect(outcome(f.cpu.load(0x8000_0000_0000n))).toBe("#GP");
    expect(outcome(f.cpu.load(0x8000_0000_0000n, 8, "stack"))).toBe("#SS");
    f.cpu.touch(0x8000_0000_0000, false);
    expect(records.filter(({ kind }) => kind === "access")).toMatchObject([
      { access: "write", size: 6, ...words(T + 0xffa), hit: false },
      { access: "write", size: 2, ...words(T + 0x1000), physical: PAGE_B, hit: false },
      { access: "write", size: 8, ...words(T), hit: true },
      { access: "fetch", size: 1, ...words(T), hit: true },
    ]);
    expect(records.filter(({ kind }) => kind === "fault")).toMatchObject([
      { fault: "#PF", code: 0, ...words(T + 0x2000) },
      { fault: "#GP", code: 0, ...words(0x8000_0000_0000) },
      { fault: "#SS", code: 0, ...words(0x8000_0000_0000) },
      { fault: "#GP", code: 0, ...words(0x8000_0000_0000) },
    ]);
  });

  it("have every register that a write changed, and no other", () => {
    const f = new Fixture();
    const records = listen(f.machine);
    f.cpu.setControl({ wp: false, nxe: false, pke: true, pkru: 0xffff_fffc, pkrs: 8 });
    f.cpu.setControl({ pke: true, pkru: 0xffff_fffc });
    f.cpu.setControl({ pcide: true });
    expect(f.cpu.setControl({ cet: true })).toMatchObject({ ok: false });
    f.cpu.setPat(0x0600_0000_0000_0006n);
    expect(f.cpu.setPat(2n)).toMatchObject({ ok: false });
    const loaded = (register: string, valueLo: number, valueHi = 0) => ({ register, valueLo, valueHi });
    expect(records.map(({ kind }) => kind)).toEqual(records.map(() => "register-loaded"));
    expect(records).toMatchObject([
      loaded("CR0", 0x8000_0011 | 0),
      loaded("CR4", 0x40_00a0),
      loaded("EFER", 0x500),
      loaded("PKRU", 0xffff_fffc | 0),
      loaded("PKRS", 8),
      loaded("CR4", 0x42_00a0),
      loaded("PAT", 6, 0x0600_0000),
    ]);
  });
});

describe("listeners", () => {
  it("hear the same records, the same objects, in whichever order they began to listen", () => {
    const heard = [false, true].map((reversed) => {
      const f = new Fixture({ cpus: 2 });
      const lists: HardwareRecord[][] = [[], []];
      const inOrder = reversed ? lists.toReversed() : lists;
      for (const list of inOrder) f.machine.records.listen((record) => list.push(record));
      history(f);
      expect(lists[0]!.length).toBeGreaterThan(20);
      expect(lists[1]).toHaveLength(lists[0]!.length);
      for (const [i, record] of lists[0]!.entries()) expect(lists[1]![i]).toBe(record);
      return lists[0];
    });
    expect(heard[0]).toEqual(heard[1]);
  });

  it("do not change what is recorded", () => {
    const alone = new Fixture({ cpus: 2 });
    const records = listen(alone.machine);
    history(alone);
    const shared = new Fixture({ cpus: 2 });
    const first = listen(shared.machine);
    for (let i = 0; i < 3; i++) shared.machine.records.listen(() => {});
    history(shared);
    expect(first).toEqual(records);
  });

  it("stop one by one: stopping one leaves the other, and stopping it again is nothing", () => {
    const { machine, cpu } = new Fixture();
    const [a, b]: [number[], number[]] = [[], []];
    const stopA = machine.records.listen(({ seq }) => a.push(seq));
    const stopB = machine.records.listen(({ seq }) => b.push(seq));
    cpu.invlpg(T);
    stopA();
    cpu.invlpg(T);
    stopA();
    cpu.invlpg(T);
    expect([a, b, machine.records.live]).toEqual([[1], [1, 2, 3], true]);
    stopB();
    cpu.invlpg(T);
    expect([b.length, machine.records.live]).toEqual([3, false]);
  });

  it("are apart even when they are the same function", () => {
    const { machine, cpu } = new Fixture();
    const heard: number[] = [];
    const listener = ({ seq }: HardwareRecord) => heard.push(seq);
    const stop = machine.records.listen(listener);
    machine.records.listen(listener);
    cpu.invlpg(T);
    stop();
    cpu.invlpg(T);
    expect(heard).toEqual([1, 1, 2]);
  });

  it("may come and go while a record is handed out; whoever listens already hears it", () => {
    const { machine, cpu } = new Fixture();
    const heard: string[] = [];
    const stop = machine.records.listen(({ seq }) => {
      heard.push(`first ${seq}`);
      stop();
      machine.records.listen((record) => heard.push(`late ${record.seq}`));
    });
    machine.records.listen(({ seq }) => heard.push(`second ${seq}`));
    cpu.invlpg(T);
    cpu.invlpg(T);
    expect(heard).toEqual(["first 1", "second 1", "second 2", "late 2"]);
  });

  it("cost nothing while there are none: no record is even numbered", () => {
    const f = new Fixture({ cpus: 2 });
    history(f);
    expect([f.machine.records.seq, f.machine.records.live]).toEqual([0, false]);
    const stop = f.machine.records.listen(() => {});
    f.cpu.invlpg(T);
    stop();
    const { seq } = f.machine.records;
    history(f);
    expect([seq, f.machine.records.seq]).toEqual([1, 1]);
  });

  it("must be functions", () => {
    const { machine } = new Fixture();
    expect(() => machine.records.listen(null as unknown as () => void)).toThrow(
      "listener null: give a function",
    );
    expect(machine.records.live).toBe(false);
  });
});

describe("what an operation drops is recorded once for each CPU reached", () => {
  type Dropped = Omit<HardwareRecordOf<"invalidated">, "kind" | "seq" | "agent" | "space" | "flush">;

  function dropped(f: Fixture, operation: (cpu: Cpu) => unknown, cpu = 0): Dropped[] {
    const list: Dropped[] = [];
    const stop = f.machine.records.listen((record) => {
      if (record.kind !== "invalidated") return;
      const { kind: _kind, seq: _seq, agent, space, flush, ...body } = record;
      expect([agent, space, flush]).toEqual([OUTSIDE_AGENT, NONE, NO_FLUSH]);
      list.push(body);
    });
    operation(f.machine.cpu(cpu));
    stop();
    return list;
  }

  /** Two CPUs; PCID 1 is current on each. */
  function two(model: CpuModel = MODEL): Fixture {
    const f = new Fixture({ model, cpus: 2 });
    for (const cpu of f.machine.cpus) {
      cpu.loadCr3(ROOT);
      cpu.setControl({ pcide: true });
      cpu.loadCr3(ROOT, 1);
    }
    return f;
  }

  const NOWHERE = { linearLo: 0, linearHi: 0 };
  const every = { pcid: ALL_PCIDS, all: true, ...NOWHERE, tables: "all" } as const;
  const own = { pcid: 1, all: true, ...NOWHERE, tables: "all" } as const;
  const page = { pcid: 1, all: false, ...words(T) } as const;

  it.each<[string, (cpu: Cpu) => unknown, Omit<Dropped, "cpu">]>([
    ["INVLPG", (cpu) => cpu.invlpg(T), { cause: "INVLPG", ...page, globals: "all", tables: "all" }],
    [
      "INVPCID 0",
      (cpu) => invpcid(cpu, 0, 2, T),
      { cause: "INVPCID 0", ...page, pcid: 2, globals: "keep", tables: "path" },
    ],
    ["INVPCID 1", (cpu) => invpcid(cpu, 1, 2), { cause: "INVPCID 1", ...own, pcid: 2, globals: "keep" }],
    ["INVPCID 2", (cpu) => invpcid(cpu, 2, 0), { cause: "INVPCID 2", ...every, globals: "all" }],
    ["INVPCID 3", (cpu) => invpcid(cpu, 3, 0), { cause: "INVPCID 3", ...every, globals: "keep" }],
    ["MOV CR3", (cpu) => cpu.loadCr3(ROOT, 2), { cause: "MOV CR3", ...own, pcid: 2, globals: "keep" }],
    ["CR4.PGE", (cpu) => cpu.setControl({ pge: false }), { cause: "CR4.PGE", ...every, globals: "all" }],
    [
      "CR4.PCIDE",
      (cpu) => cpu.setControl({ pcide: false }),
      { cause: "CR4.PCIDE", ...every, globals: "all" },
    ],
    ["CR4.SMEP", (cpu) => cpu.setControl({ smep: true }), { cause: "CR4.SMEP", ...own, globals: "own" }],
    [
      "#PF",
      (cpu) => cpu.load(T + 0x1238),
      { cause: "#PF", ...page, ...words(T + 0x1238), globals: "all", tables: "path" },
    ],
  ])("%s: on the CPU that does it", (_name, operation, expected) => {
    for (const cpu of [0, 1]) expect(dropped(two(), operation, cpu)).toEqual([{ ...expected, cpu }]);
  });

  it.each<[string, (cpu: Cpu) => unknown]>([
    ["a MOV to CR3 that keeps them", (cpu) => cpu.loadCr3(ROOT, 2, true)],
    ["INVLPG of an address that is not canonical", (cpu) => cpu.invlpg(0x8000_0000_0000_0000n)],
    ["INVPCID that is refused", (cpu) => invpcid(cpu, 1, 1n << 12n)],
    ["clearing SMEP, or setting what drops nothing", (cpu) => cpu.setControl({ smap: true, wp: false })],
    ["a register write that is refused", (cpu) => cpu.setControl({ pge: false, cet: true, wp: false })],
    ["#GP: no walk was made", (cpu) => cpu.load(0x8000_0000_0000n)],
    ["an access that is done", (cpu) => cpu.store(T, 1)],
  ])("%s: nothing", (_name, operation) => {
    const f = two();
    expect(dropped(f, operation)).toEqual([]);
  });

  it("a #PF that a cached translation denies drops as any other", () => {
    const f = two().set(PTE, 0x11_0005n);
    f.cpu.load(T);
    f.set(PTE, 0x11_0007n);
    expect(outcome(f.cpu.store(T, 1))).toBe("#PF 0x03");
    expect(f.cpu.store(T, 1)).toMatchObject({ ok: true });
    f.set(PTE, 0x11_0003n).cpu.invlpg(T);
    f.cpu.load(T);
    f.set(PTE, 0x11_0007n);
    f.cpu.cpl = 3;
    expect(dropped(f, (cpu) => expect(outcome(cpu.load(T))).toBe("#PF 0x05"))).toEqual([
      { cause: "#PF", cpu: 0, ...page, globals: "all", tables: "path" },
    ]);
  });

  it("MOV CR3 is recorded before what it drops, which goes by the new PCID", () => {
    const f = two();
    const records = listen(f.machine);
    f.cpu.loadCr3(0x8_0000, 7);
    f.cpu.loadCr3(ROOT, 7, true);
    expect(records).toMatchObject([
      { kind: "cr3-loaded", oldRoot: ROOT, root: 0x8_0000, pcid: 7, keep: false },
      { kind: "invalidated", cause: "MOV CR3", pcid: 7 },
      { kind: "cr3-loaded", oldRoot: 0x8_0000, root: ROOT, pcid: 7, keep: true },
    ]);
  });

  it("a register is recorded before what its load drops, a #PF before what it drops", () => {
    const f = two();
    const records = listen(f.machine);
    f.cpu.setControl({ pge: false });
    f.cpu.load(T + 0x1000);
    expect(records.map(({ kind }) => kind)).toEqual([
      "register-loaded",
      "invalidated",
      ...Array(3).fill("accessed-dirty-set"),
      "fault",
      "invalidated",
    ]);
  });

  it("on AMD, EFER.TCE decides which table entries INVLPG and INVPCID 0 drop", () => {
    for (const tce of [false, true]) {
      const f = two(AMD);
      f.cpu.setControl({ tce });
      const tables = tce ? "path" : "all";
      expect(dropped(f, (cpu) => cpu.invlpg(T))).toEqual([
        { cause: "INVLPG", cpu: 0, ...page, globals: "all", tables },
      ]);
      expect(dropped(f, (cpu) => invpcid(cpu, 0, 1, T))).toEqual([
        { cause: "INVPCID 0", cpu: 0, ...page, globals: "keep", tables },
      ]);
    }
  });

  it("INVLPGB: nothing before TLBSYNC, then each page on every CPU", () => {
    const f = two(AMD);
    expect(dropped(f, (cpu) => invlpgb(cpu, { address: T, pcid: 1, extraPages: 1 }), 1)).toEqual([]);
    expect(dropped(f, (cpu) => tlbsync(cpu), 0)).toEqual([]);
    const gone = { cause: "INVLPGB", ...page, globals: "keep", tables: "all" };
    expect(dropped(f, (cpu) => tlbsync(cpu), 1)).toEqual([
      { ...gone, cpu: 0 },
      { ...gone, cpu: 1 },
      { ...gone, ...words(T + 0x1000), cpu: 0 },
      { ...gone, ...words(T + 0x1000), cpu: 1 },
    ]);
    expect(dropped(f, (cpu) => tlbsync(cpu), 1)).toEqual([]);
  });

  it("INVLPGB drops as it asks: of every PCID, global ones, without table entries", () => {
    const f = two(AMD);
    const asked = { includeGlobals: true, finalOnly: true };
    const list = dropped(f, (cpu) => [invlpgb(cpu, asked), tlbsync(cpu)]);
    const gone = { cause: "INVLPGB", ...every, globals: "all", tables: "keep" };
    expect(list).toEqual([
      { ...gone, cpu: 0 },
      { ...gone, cpu: 1 },
    ]);
  });
});

describe("interrupts between CPUs", () => {
  const FLUSH = 7;

  function sent(handler: (cpu: Cpu) => void, flush?: number) {
    const f = new Fixture({ cpus: 3 });
    for (const cpu of f.machine.cpus) cpu.loadCr3(ROOT);
    const { records } = f.machine;
    const sender = records.introduce("task", 0, "sender");
    const victim = records.introduce("task", 2, "victim");
    const heard = listen(f.machine);
    records.agent = sender;
    f.machine.sendIpi(0, 2, handler, flush);
    records.agent = victim;
    return { f, records, heard, sender, victim, target: f.machine.cpu(2) };
  }

  it("carry the flush that they are part of, from the sender to the end of the handler", () => {
    const { heard, sender, target, victim } = sent((cpu) => cpu.invlpg(T), FLUSH);
    target.handleIpis();
    target.invlpg(T);
    const handler = interruptHandlerOf(2);
    expect(heard).toMatchObject([
      { kind: "ipi-sent", agent: sender, cpu: 0, to: 2, flush: FLUSH },
      { kind: "interrupt-taken", agent: handler, cpu: 2, vector: 0xfb },
      { kind: "invalidated", agent: handler, cpu: 2, cause: "INVLPG", flush: FLUSH },
      { kind: "ipi-handled", agent: handler, cpu: 2, from: 0, flush: FLUSH },
      { kind: "invalidated", agent: victim, cpu: 2, cause: "INVLPG", flush: NO_FLUSH },
    ]);
  });

  it("give what the handler does the interrupt's agent; walks stay their walker's", () => {
    const { f, heard, target } = sent((cpu) => {
      cpu.load(T);
      cpu.loadCr3(ROOT);
      f.machine.storeEntry(PTE, 0x11_1007, 0, cpu.id);
    }, FLUSH);
    target.handleIpis();
    const handler = interruptHandlerOf(2);
    expect(f.machine.records.agents[handler]).toMatchObject({ type: "interrupt", cpu: 2 });
    const byHandler = heard.slice(1).filter(({ agent }) => agent === handler);
    expect(byHandler.map(({ kind }) => kind)).toEqual([
      "interrupt-taken",
      "access",
      "cr3-loaded",
      "invalidated",
      "entry-written",
      "ipi-handled",
    ]);
    const others = heard.slice(1).filter(({ agent }) => agent !== handler);
    expect(new Set(others.map(({ agent }) => agent))).toEqual(new Set([walkerOf(2)]));
  });

  it("of no flush have none; several are taken in order, each with its own flush", () => {
    const { f, heard, target, records, sender } = sent(() => {});
    records.agent = sender;
    f.machine.sendIpi(1, 2, (cpu) => cpu.invlpg(T), FLUSH);
    f.machine.sendIpi(0, 2, (cpu) => cpu.invlpg(T), FLUSH + 1);
    expect(target.handleIpis()).toBe(3);
    expect(heard.filter(({ kind }) => kind === "ipi-sent")).toMatchObject([
      { cpu: 0, to: 2, flush: NO_FLUSH },
      { cpu: 1, to: 2, flush: FLUSH },
      { cpu: 0, to: 2, flush: FLUSH + 1 },
    ]);
    expect(heard.filter(({ kind }) => kind === "ipi-handled")).toMatchObject([
      { from: 0, flush: NO_FLUSH },
      { from: 1, flush: FLUSH },
      { from: 0, flush: FLUSH + 1 },
    ]);
    expect(heard.filter(({ kind }) => kind === "invalidated")).toMatchObject([
      { flush: FLUSH },
      { flush: FLUSH + 1 },
    ]);
  });

  it("leave agent and flush as they were, also when the handler throws or nobody listens", () => {
    const thrown = sent(() => {
      throw new TypeError("in the handler");
    }, FLUSH);
    thrown.records.flush = 3;
    expect(() => thrown.target.handleIpis()).toThrow("in the handler");
    expect([thrown.records.agent, thrown.records.flush]).toEqual([thrown.victim, 3]);

    const { machine } = new Fixture({ cpus: 2 });
    const seen: number[] = [];
    machine.sendIpi(0, 1, () => seen.push(machine.records.agent, machine.records.flush), FLUSH);
    machine.cpu(1).handleIpis();
    expect(seen).toEqual([interruptHandlerOf(1), FLUSH]);
    expect([machine.records.agent, machine.records.flush]).toEqual([OUTSIDE_AGENT, NO_FLUSH]);
  });
});
