import { describe, expect, it } from "vitest";
import {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_WRITE,
  type AccessResult,
  type AccessSize,
  type Cpu,
  cpuModel,
  untagHi,
} from "../../../../src/package/cpu.ts";
import { Fixture, MODEL, outcome, PTE, T } from "./fixture.ts";

const ALL = (1n << 64n) - 1n;
const EDGES = [47n, 48n, 56n, 57n].flatMap((bit) => [1n << bit, (1n << 64n) - (1n << bit)]);
const OFFSETS = [-64n, -63n, -32n, -8n, -7n, -4n, -1n, 0n, 1n, 8n];
/** Metadata XORed into a pointer: none, in 62:57, in 62:48, everywhere up to bit 62. */
const TAGS = [0n, 0x2a00n << 48n, 0x2aabn << 48n, 0x7fffn << 48n];
const SIZES: readonly AccessSize[] = [1, 2, 4, 8, 16, 32, 64];
const ACCESSES = ["read", "write", "rmw", "fetch", "implicit"] as const;
type Name = (typeof ACCESSES)[number];

interface Lam {
  readonly u48: boolean;
  readonly u57: boolean;
  readonly sup: boolean;
}

/** The address without its metadata, from the rule's own words. */
function untag(la: bigint, { u48, u57, sup }: Lam, levels: number): bigint {
  const supervisor = la >> 63n === 1n;
  let n: bigint | null;
  if (supervisor) n = sup ? (levels === 5 ? 56n : 47n) : null;
  else n = u57 ? 56n : u48 ? 47n : null;
  if (n === null) return la;
  const field = (1n << 63n) - (1n << (n + 1n));
  const copies = ((la >> n) & 1n) === 1n ? field : 0n;
  return (la & ~field & ALL) | copies;
}

function isCanonicalByte(la: bigint, levels: number): boolean {
  const sign = la >> (levels === 5 ? 56n : 47n);
  return sign === 0n || sign === (levels === 5 ? 0xffn : 0x1_ffffn);
}

function access(cpu: Cpu, name: Name, la: bigint, size: AccessSize, stack: boolean): AccessResult {
  const segment = stack ? "stack" : "data";
  if (name === "read") return cpu.load(la, size, segment);
  if (name === "write") return cpu.store(la, 0n, size, segment);
  if (name === "rmw") return cpu.readModifyWrite(la, (old) => old, size, segment);
  return name === "fetch" ? cpu.fetch(la, size) : cpu.loadImplicit(la, size);
}

describe("linear addresses", () => {
  it.each([4, 5] as const)("M9 with %i levels: edges, sizes, stack or not, metadata", (levels) => {
    // No table entry is present, so an access that may have its address at all is a #PF there.
    const f = new Fixture({ levels, model: { ...MODEL, lam: true }, memory: "1MiB" });
    const wrong: string[] = [];
    const counts = { "#GP": 0, "#SS": 0, "#PF": 0 };
    let cases = 0;
    for (let mode = 0; mode < 8; mode++) {
      const lam = { u48: (mode & 1) !== 0, u57: (mode & 2) !== 0, sup: (mode & 4) !== 0 };
      f.cpu.setControl({ lamSup: lam.sup });
      f.cpu.movCr3((lam.u57 ? 1n << 61n : 0n) | (lam.u48 ? 1n << 62n : 0n));
      for (const edge of EDGES) {
        for (const offset of OFFSETS) {
          for (const tag of TAGS) {
            const la = ((edge + offset) ^ tag) & ALL;
            for (const size of SIZES) {
              for (const name of ACCESSES) {
                const stack = name !== "fetch" && name !== "implicit" && cases % 2 === 0;
                const explicit = name !== "fetch" && name !== "implicit";
                const start = explicit ? untag(la, lam, levels) : la;
                const last = (start + BigInt(size - 1)) & ALL;
                const canonical = isCanonicalByte(start, levels) && isCanonicalByte(last, levels);
                const kind = canonical ? "#PF" : stack ? "#SS" : "#GP";
                const result = access(f.cpu, name, la, size, stack);
                cases++;
                counts[kind]++;
                if (result.ok || result.fault.kind !== kind || result.fault.address !== start) {
                  if (wrong.length < 5)
                    wrong.push(`${name} ${la.toString(16)} ${size} ${JSON.stringify(lam)}`);
                }
              }
            }
          }
        }
      }
    }
    console.log(`M9, ${levels} levels: ${cases} cases, ${JSON.stringify(counts)}`);
    expect(wrong).toEqual([]);
    expect(cases).toBe(89_600);
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(1_000);
  });

  it("LAM_U57 with four levels still faults where bits 56:47 differ from bit 63", () => {
    const f = new Fixture({ model: { ...MODEL, lam: true } });
    f.cpu.movCr3((1n << 61n) | 0x7_0000n);
    expect(outcome(f.cpu.load(BigInt(T) | (0x15n << 57n)))).toBe("ok");
    expect(outcome(f.cpu.load(BigInt(T) | (1n << 50n)))).toBe("#GP");
    f.cpu.movCr3((1n << 62n) | 0x7_0000n);
    expect(outcome(f.cpu.load(BigInt(T) | (1n << 50n)))).toBe("ok");
    f.set(PTE, 0n).cpu.invlpg(T);
    f.cpu.load(BigInt(T + 5) | (1n << 50n), 1);
    expect(f.cpu.fault?.address).toBe(BigInt(T + 5));
  });

  it("a tag never turns a user pointer into a supervisor's", () => {
    const lam = { levels: 4, lamU57: false, lamU48: true, lamSup: true, uaie: false };
    expect(untagHi(0x7fff_0000, lam) >= 0).toBe(true);
    expect(untagHi(0x8000_ffff | 0, lam) | 0).toBe(-1);
  });

  it("INVLPG takes no metadata: a tagged address is one that is not canonical, and does nothing", () => {
    const f = new Fixture({ model: { ...MODEL, lam: true } });
    f.cpu.movCr3((1n << 62n) | 0x7_0000n);
    f.access("read");
    f.cpu.invlpg(BigInt(T) | (1n << 60n));
    f.set(PTE, 0n);
    expect(f.access("read")).toBe("ok");
    f.cpu.invlpg(T);
    expect(f.access("read")).toBe("#PF 0x00");
  });
});

/** Where an access of one byte to a linear address ends, by every form of access there is. */
function everyForm(f: Fixture, la: bigint): Record<string, string> {
  const lo = Number(BigInt.asIntN(32, la));
  const hi = Number(BigInt.asIntN(32, la >> 32n));
  const { cpu } = f;
  const translated = (kind: number): string =>
    cpu.translate(kind, lo, hi) < 0 ? (cpu.fault?.kind ?? "") : "ok";
  const ends: Record<string, string> = {
    load: outcome(cpu.load(la)),
    store: outcome(cpu.store(la, 0)),
    rmw: outcome(cpu.readModifyWrite(la, (old) => old)),
    "translate for a read": translated(ACCESS_READ),
    "translate for a write": translated(ACCESS_WRITE),
    "translate for a fetch": translated(ACCESS_FETCH),
    fetch: outcome(cpu.fetch(la)),
  };
  if (la < 1n << 53n) ends.touch = cpu.touch(Number(la), false)?.kind ?? "ok";
  return ends;
}

describe("every form of access is pre-processed alike", () => {
  const LAM = { ...MODEL, lam: true };

  it("LAM", () => {
    const f = new Fixture({ model: LAM });
    f.cpu.movCr3((1n << 62n) | 0x7_0000n);
    for (const warm of [false, true]) {
      if (warm) f.access("write");
      expect(everyForm(f, BigInt(T) | (1n << 50n))).toEqual({
        load: "ok",
        store: "ok",
        rmw: "ok",
        "translate for a read": "ok",
        "translate for a write": "ok",
        "translate for a fetch": "#GP",
        fetch: "#GP",
        touch: "ok",
      });
    }
  });

  it("LASS, also for a page that was used before it was on", () => {
    const f = new Fixture({ model: { ...MODEL, lass: true } });
    f.cpu.setControl({ smap: true });
    f.cpu.ac = true;
    everyForm(f, BigInt(T));
    f.cpu.ac = false;
    f.cpu.setControl({ lass: true });
    expect(new Set(Object.values(everyForm(f, BigInt(T))))).toEqual(new Set(["#GP"]));
    expect(f.cpu.fault?.reason).toBe("address-space");
  });

  it("LASS judges each byte: an access that wraps to address 0", () => {
    const f = new Fixture({ model: { ...MODEL, lass: true } });
    f.cpu.setControl({ smap: true, lass: true });
    expect(outcome(f.cpu.load(0xffff_ffff_ffff_fffcn))).toBe("#GP");
  });

  it("AMD's upper-address ignore drops bits 63:57, but not through SS nor for fetches", () => {
    const f = new Fixture({ model: { ...cpuModel("amd-zen4"), maxPhyAddr: 40 } });
    const tagged = BigInt(T) | (0x75n << 57n);
    expect(everyForm(f, tagged).load).toBe("#GP");
    f.cpu.setControl({ uaie: true });
    expect(everyForm(f, tagged)).toEqual({
      load: "ok",
      store: "ok",
      rmw: "ok",
      "translate for a read": "ok",
      "translate for a write": "ok",
      "translate for a fetch": "#GP",
      fetch: "#GP",
    });
    expect(outcome(f.cpu.load(tagged, 8, "stack"))).toBe("#SS");
    // Bits 56:48 are still compared with bit 47.
    expect(outcome(f.cpu.load(BigInt(T) | (1n << 50n)))).toBe("#GP");
  });
});

describe("LASS", () => {
  const HIGH = 0xffff_8000_0000_0000n;

  it("judges bit 63 before any walk", () => {
    const f = new Fixture({ model: { ...MODEL, lass: true } });
    f.cpu.setControl({ lass: true });
    const cases: [string, string][] = [
      ["user read of the upper half", f.access("read", "user", HIGH)],
      ["user fetch there", f.access("fetch", "user", HIGH)],
      ["user read of the lower half", f.access("read", "user")],
      ["supervisor fetch of the lower half", f.access("fetch", "sup")],
      ["supervisor read of it without SMAP", f.access("read", "sup")],
    ];
    f.cpu.setControl({ smap: true });
    cases.push(["with SMAP", f.access("read", "sup")]);
    cases.push(["its stack", outcome(f.cpu.store(T, 1n, 8, "stack"))]);
    cases.push(["as touch", String(f.cpu.touch(T, false)?.kind)]);
    f.cpu.ac = true;
    cases.push(["with AC", f.access("read", "sup")]);
    cases.push(["with AC, implicit", outcome(f.cpu.loadImplicit(T))]);
    cases.push(["supervisor read of the upper half", f.access("read", "sup", HIGH)]);
    expect(cases).toEqual([
      ["user read of the upper half", "#GP"],
      ["user fetch there", "#GP"],
      ["user read of the lower half", "ok"],
      ["supervisor fetch of the lower half", "#GP"],
      ["supervisor read of it without SMAP", "ok"],
      ["with SMAP", "#GP"],
      ["its stack", "#SS"],
      ["as touch", "#GP"],
      ["with AC", "ok"],
      ["with AC, implicit", "#GP"],
      ["supervisor read of the upper half", "#PF 0x00"],
    ]);
    expect(f.cpu.fault?.describe()).toContain("#PF 0x00");
    f.access("read", "user", HIGH);
    expect(f.cpu.fault?.describe()).toBe(
      "#GP at 0xffff800000000000: LASS keeps this half of the addresses from it",
    );
  });
});
