import { describe, expect, it } from "vitest";
import {
  CPU_MODELS,
  type CpuBehaviour,
  type CpuFeatures,
  type CpuModel,
  cpuModel,
  INSPECT,
  invpcid,
  MODE_SUPERVISOR,
  Mtrrs,
  memoryTypesOf,
  movCr4,
  WalkResult,
  walk,
  wrmsr,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, outcome, PDPTE, PML4E, PTE, ROOT, T } from "./fixture.ts";

const KEY1 = 0x0800_0000_0011_0007n;
const GLOBAL = 0x11_0107n;

type Experiment = (model: CpuModel) => string;

/** A switch: two of its values, and an experiment that tells them apart. */
interface Switch<K extends keyof CpuModel> {
  readonly values: readonly [CpuModel[K], CpuModel[K]];
  readonly told: readonly [string, string];
  readonly run: Experiment;
}

/** After a supervisor read: its outcome and A of the four entries. */
function readWith(
  model: CpuModel,
  entries: Readonly<Record<number, bigint>>,
  who: "user" | "sup" = "sup",
): string {
  const f = new Fixture({ model });
  for (const [at, value] of Object.entries(entries)) f.set(Number(at), value);
  return `${f.access("read", who)} ${f.accessed()}`;
}

/** What a change of the leaf, made between a walk's reads and its updates, leaves in it. */
function overtaken(model: CpuModel, kind: "read" | "write", value: bigint): string {
  const f = new Fixture({ model });
  let done = false;
  const beforeUpdate = (): void => {
    if (!done) f.set(PTE, value);
    done = true;
  };
  f.cpu.walkOptions = { ...f.cpu.walkOptions, beforeUpdate };
  return `${f.access(kind, "user")} ${f.get(PTE).toString(16)}`;
}

/** Reads a page, repoints its PTE, does something, reads again: "old" where the first translation still serves. */
function staleAfter(model: CpuModel, pte: bigint, act: (f: Fixture) => void, pcide = false): string {
  const f = new Fixture({ model }).set(PTE, pte);
  f.cpu.setControl({ pcide });
  f.access("read");
  f.set(PTE, pte + 0x1000n);
  act(f);
  const result = f.cpu.load(T);
  return result.ok && result.physical === 0x11_0000 ? "old" : "new";
}

const BEHAVIOUR: { readonly [K in keyof CpuBehaviour]-?: Switch<K> } = {
  upperAOnFault: {
    values: ["set", "clear"],
    told: ["#PF 0x00 1110", "#PF 0x00 0000"],
    run: (model) => readWith(model, { [PTE]: 0x11_0006n }),
  },
  leaf1GAOnFault: {
    values: [false, true],
    told: ["#PF 0x05 83", "#PF 0x05 a3"],
    run: (model) => {
      const f = new Fixture({ model }).set(PDPTE, 0x83n);
      return `${f.access("read", "user")} ${f.get(PDPTE).toString(16)}`;
    },
  },
  rsvdKeepsP: {
    values: [true, false],
    told: ["#PF 0x09 0000", "#PF 0x08 0000"],
    run: (model) => readWith(model, { [PML4E]: 0x10_0087n }),
  },
  rmwIsWrite: {
    values: [true, false],
    told: ["#PF 0x02", "#PF 0x00"],
    run: (model) => outcome(new Fixture({ model }).set(PTE, 0n).cpu.readModifyWrite(T, (old) => old)),
  },
  stackNoncanonical: {
    values: ["#SS", "#GP"],
    told: ["#SS", "#GP"],
    run: (model) => outcome(new Fixture({ model }).cpu.store(1n << 47n, 0, 8, "stack")),
  },
  wholeAccessCanonical: {
    values: [true, false],
    told: ["#GP", "#PF 0x00"],
    run: (model) => outcome(new Fixture({ model }).cpu.load((1n << 47n) - 4n)),
  },
  gbPagesGated: {
    values: [true, false],
    told: ["#PF 0x09 87", "ok a7"],
    run: (model) => gigabytePage({ ...model, gbPages: false }),
  },
  amdNonleafG: {
    values: [true, false],
    told: ["#PF 0x09 0000", "ok 1111"],
    run: (model) => readWith(model, { [PML4E]: 0x10_0107n }),
  },
  confirmsFaults: {
    values: [false, true],
    told: ["#PF 0x03", "ok"],
    run: (model) => {
      const f = new Fixture({ model }).set(PTE, 0x11_0005n);
      f.access("read");
      return f.set(PTE, 0x11_0007n).access("write");
    },
  },
  adUpdate: {
    values: ["locked64", "plain"],
    told: ["#PF 0x04 0", "ok 110027"],
    run: (model) => overtaken(model, "read", 0n),
  },
  keyPage: {
    values: ["path", "above-leaf"],
    told: ["#PF 0x05", "#PF 0x25"],
    run: (model) => keyed(model, "user", KEY1 & ~4n),
  },
  keyStopsSupervisor: {
    values: [true, false],
    told: ["#PF 0x21", "ok"],
    run: (model) => keyed(model, "sup", KEY1),
  },
  acExemptsImplicit: {
    values: ["never", "always"],
    told: ["#PF 0x01", "ok"],
    run: (model) => implicitAt(model, 3),
  },
  honoursGlobal: {
    values: [true, false],
    told: ["old", "new"],
    run: (model) => staleAfter(model, GLOBAL, (f) => f.cpu.loadCr3(ROOT)),
  },
  tagsPcid: {
    values: [true, false],
    told: ["old", "new"],
    run: (model) =>
      staleAfter(
        model,
        0x11_0007n,
        (f) => {
          f.cpu.loadCr3(ROOT, 5);
          f.cpu.loadCr3(ROOT, 0, true);
        },
        true,
      ),
  },
  pcideGated: {
    values: [true, false],
    told: ["#GP", "ok"],
    run: (model) => {
      const result = new Fixture({ model: { ...model, pcid: false } }).cpu.setControl({ pcide: true });
      return result.ok ? "ok" : result.fault;
    },
  },
  memoryTypeMerge: {
    values: ["manual", "bochs"],
    told: ["WC", "UC"],
    run: (model) => {
      const f = new Fixture({ model }).set(PTE, 0x11_0017n);
      const result = new WalkResult();
      walk(f.machine.memory, f.cpu.control, T | 0, 0x80, 0, MODE_SUPERVISOR, INSPECT, result);
      return memoryTypesOf(result, f.cpu.control, new Mtrrs("WP")).page;
    },
  },
  dirtyOnReadOnly: {
    values: [false, true],
    told: ["#PF 0x07 110005", "#PF 0x07 110065"],
    run: (model) => overtaken(model, "write", 0x11_0005n),
  },
  strayAD: {
    values: [false, true],
    told: ["#PF 0x06 0", "#PF 0x06 60"],
    run: (model) => overtaken(model, "write", 0n),
  },
  invlpgKeepsGlobal: {
    values: [false, true],
    told: ["new", "old"],
    run: (model) => staleAfter(model, GLOBAL, (f) => f.cpu.invlpg(T), true),
  },
};

/** A read of a 1-GiB page, and what it leaves in the entry. */
function gigabytePage(model: CpuModel): string {
  const f = new Fixture({ model }).set(PDPTE, 0x87n);
  return `${f.access("read")} ${f.get(PDPTE).toString(16)}`;
}

function keyed(model: CpuModel, who: "user" | "sup", pte: bigint): string {
  const f = new Fixture({ model }).set(PTE, pte);
  f.cpu.setControl({ pke: true, pkru: 4 });
  return f.access("read", who);
}

function implicitAt(model: CpuModel, cpl: number): string {
  const f = new Fixture({ model });
  f.cpu.setControl({ smap: true });
  f.cpu.cpl = cpl;
  f.cpu.ac = true;
  return outcome(f.cpu.loadImplicit(T));
}

/** "ok", or the fault of setting a control bit. */
function setting(
  bit: "nxe" | "pge" | "pcide" | "smep" | "smap" | "pke" | "pks" | "lass" | "lamSup" | "cet" | "tce" | "uaie",
): Experiment {
  return (model) => {
    const result = new Fixture({ model }).cpu.setControl({ [bit]: true });
    return result.ok ? "ok" : result.fault;
  };
}

function feature(run: Experiment): Switch<"nx"> {
  return { values: [true, false], told: ["ok", "#GP"], run };
}

type FeatureSwitches = {
  readonly [K in Exclude<keyof CpuFeatures, "name">]-?: Switch<never> | Switch<K> | Switch<"nx">;
};

const FEATURES: FeatureSwitches = {
  vendor: {
    values: ["intel", "amd"],
    told: ["ok 1111", "#PF 0x09 0000"],
    run: (model) => readWith(model, { [PML4E]: 0x10_0107n }),
  },
  maxPhyAddr: {
    values: [40, 41],
    told: ["#PF 0x09 1110", "ok 1111"],
    run: (model) => readWith(model, { [PTE]: 0x100_0000_0007n }),
  },
  linearWidth: {
    values: [57, 48],
    told: ["ok ok", "#GP #GP"],
    run: (model) => {
      const { cpu } = new Fixture({ model });
      const results = [wrmsr(cpu, 0xc000_0082, 1n << 50n), invpcid(cpu, 0, 0, 1n << 50n)];
      return results.map((result) => (result.ok ? "ok" : result.fault)).join(" ");
    },
  },
  gbPages: {
    values: [true, false],
    told: ["ok a7", "#PF 0x09 87"],
    run: gigabytePage,
  },
  nx: feature(setting("nxe")),
  pge: feature(setting("pge")),
  pcid: feature(setting("pcide")),
  smep: feature(setting("smep")),
  smap: feature(setting("smap")),
  pku: feature(setting("pke")),
  pks: feature(setting("pks")),
  lass: feature(setting("lass")),
  lam: feature(setting("lamSup")),
  shstk: feature(setting("cet")),
  tce: feature(setting("tce")),
  uai: feature(setting("uaie")),
  registerBits: {
    values: ["UMIP UINTR", "UMIP"],
    told: ["ok", "#GP"],
    run: (model) => {
      const result = movCr4(new Fixture({ model }).cpu, 0x200_08a0n);
      return result.ok ? "ok" : result.fault;
    },
  },
  la57: {
    values: [true, false],
    told: ["ok", "refused"],
    run: (model) => {
      try {
        return new Fixture({ model, levels: 5 }).access("read");
      } catch {
        return "refused";
      }
    },
  },
  invpcid: {
    values: [true, false],
    told: ["ok", "#UD"],
    run: (model) => {
      const result = invpcid(new Fixture({ model }).cpu, 2, 0);
      return result.ok ? "ok" : result.fault;
    },
  },
  invlpgbPages: {
    values: [7, null],
    told: ["7", "null"],
    run: ({ invlpgbPages }) => String(invlpgbPages),
  },
};

describe("switches of a CPU model", () => {
  const all: readonly [string, Switch<never>][] = Object.entries({ ...BEHAVIOUR, ...FEATURES }) as never;

  it.each(all)("%s", (name, { values, told, run }) => {
    const [first, second] = values;
    expect([run({ ...MODEL, [name]: first }), run({ ...MODEL, [name]: second })]).toEqual(told);
  });

  it("further values", () => {
    // The user may not read the page anyway; the supervisor's key does not apply to one that the path denies the user.
    expect(keyed({ ...MODEL, keyPage: "every" }, "sup", KEY1 & ~4n)).toBe("#PF 0x21");
    expect(implicitAt({ ...MODEL, acExemptsImplicit: "cpl0" }, 3)).toBe("#PF 0x01");
    expect(implicitAt({ ...MODEL, acExemptsImplicit: "cpl0" }, 0)).toBe("ok");
    // A fetch is judged by the XD that was read, though the entry has another one by now.
    const xd = 0x8000_0000_0011_0007n;
    expect(overtaken({ ...MODEL, adUpdate: "locked32" }, "read", xd)).toBe("ok 8000000000110027");
  });
});

/** Name, MAXPHYADDR / linear width, and the features that a preset has of PCID .. UAI; decoded from raw CPUID registers. */
const PRESETS = `
intel-skylake-client  39/48 pcid invpcid
intel-skylake-sp      46/48 pcid invpcid pku
intel-icelake-client  39/48 pcid invpcid pku
intel-alder-lake      39/48 pcid invpcid pku shstk pks
intel-sapphire-rapids 52/57 pcid invpcid pku shstk la57 pks
intel-granite-rapids  52/57 pcid invpcid pku shstk la57 pks
intel-lunar-lake      42/48 pcid invpcid pku shstk pks lam lass
intel-arrow-lake      46/48 pcid invpcid pku shstk pks lam lass
amd-zen2              48/48 tce
amd-zen3              48/48 pcid invpcid pku shstk tce invlpgb7
amd-zen4-client       48/48 invpcid pku shstk tce uai
amd-zen4              52/57 pcid invpcid pku shstk la57 tce uai invlpgb7
amd-zen5-client       48/48 invpcid pku shstk tce uai
amd-zen5              52/57 pcid invpcid pku shstk la57 tce uai invlpgb7
`;

describe("presets", () => {
  it.each(
    PRESETS.trim()
      .split("\n")
      .map((line) => line.split(/ +/)),
  )("%s %s", (name, width, ...features) => {
    const model = cpuModel(name!);
    expect(`${model.maxPhyAddr}/${model.linearWidth}`).toBe(width);
    const optional = ["pcid", "invpcid", "pku", "shstk", "la57", "pks", "lam", "lass", "tce", "uai"] as const;
    const has = optional.filter((feature) => model[feature]) as string[];
    if (model.invlpgbPages !== null) has.push(`invlpgb${model.invlpgbPages}`);
    expect(has.sort()).toEqual([...features].sort());
    expect([model.gbPages, model.nx, model.smep, model.smap, model.pge]).toEqual([
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(model.vendor).toBe(name!.split("-")[0]);
    // Only CPUs with shadow stacks promise never to set D where R/W=0.
    expect(model.dirtyOnReadOnly).toBe(!model.shstk);
  });

  it("five-level widths go with LA57, and every name is its own key", () => {
    for (const [name, model] of Object.entries(CPU_MODELS)) {
      expect([name, model.linearWidth === 57]).toEqual([model.name, model.la57]);
      expect(Object.isFrozen(model)).toBe(true);
    }
  });

  it("without PCIDs INVPCID takes PCID 0 only", () => {
    const f = new Fixture({ model: "amd-zen4-client" });
    expect([invpcid(f.cpu, 1, 0).ok, invpcid(f.cpu, 1, 1).ok, f.cpu.setControl({ pcide: true }).ok]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it("Alder Lake with old microcode keeps global translations on INVLPG only with PCIDE", () => {
    const model = { ...cpuModel("intel-alder-lake-old-microcode"), maxPhyAddr: 40 };
    const act = (f: Fixture): void => f.cpu.dropPage(T);
    expect([staleAfter(model, GLOBAL, act, true), staleAfter(model, GLOBAL, act, false)]).toEqual([
      "old",
      "new",
    ]);
    expect(staleAfter(model, 0x11_0007n, act, true)).toBe("new");
  });
});
