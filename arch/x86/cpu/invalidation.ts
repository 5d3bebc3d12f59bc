import type { ControlResult } from "./control-registers.ts";
import type { Cpu } from "./cpu.ts";
import { ALL_PCIDS, type InvalidationScope, scopeOf } from "./invalidation-scope.ts";
import { checkLinear, isCanonical, isCanonicalOperand, linearHi, linearLo } from "./linear-address.ts";

const INVPCID_TYPES = ["INVPCID 0", "INVPCID 1", "INVPCID 2", "INVPCID 3"] as const;

/**
 * INVPCID (SDM vol. 2): type 0 = one address of a PCID, 1 = a PCID, 2 = everything, 3 = everything but global ones.
 * `pcid` is bits 63:0 of the descriptor, so its reserved bits are checked too. Returns the fault it raises, or done.
 */
export function invpcid(
  cpu: Cpu,
  type: number,
  pcid: number | bigint,
  address: number | bigint = 0,
): ControlResult {
  const { model, pcide } = cpu.control;
  if (!model.invpcid) return refuse("#UD", `INVPCID: ${model.name} does not have it`);
  if (cpu.cpl !== 0) return refuse("#GP", `INVPCID at CPL ${cpu.cpl}`);
  if (!(type >= 0 && type <= 3)) return refuse("#GP", `INVPCID type ${type}: there are 0 to 3`);
  checkLinear(address);
  const tag = BigInt(pcid);
  if (tag >> 12n !== 0n)
    return refuse("#GP", `INVPCID descriptor 0x${tag.toString(16)}: bits 63:12 are reserved`);
  if (type < 2 && !pcide && tag !== 0n) return refuse("#GP", `INVPCID of PCID ${tag} while CR4.PCIDE is 0`);
  const lo = linearLo(address);
  const hi = linearHi(address);
  if (type === 0 && !isCanonicalOperand(hi, model)) {
    return refuse("#GP", `INVPCID of 0x${BigInt(address).toString(16)}: not canonical`);
  }
  const operation = INVPCID_TYPES[type as 0 | 1 | 2 | 3];
  cpu.invalidate(
    operation,
    scopeOf(operation, cpu.control, { pcid: model.tagsPcid ? Number(tag) : 0, lo, hi }),
  );
  return { ok: true };
}

/** The operands of INVLPGB (AMD APM vol. 3): what is left out matches all. */
export interface InvlpgbRequest {
  /** rAX[63:12] with rAX[0] set: the first page. */
  readonly address?: number | bigint;
  /** EDX[27:16] with rAX[1] set. */
  readonly pcid?: number;
  /** EDX[15:0] with rAX[2] set; this machine runs everything in ASID 0. */
  readonly asid?: number;
  /** rAX[3]. */
  readonly includeGlobals?: boolean;
  /** rAX[4]: final translations only, cached table entries stay. */
  readonly finalOnly?: boolean;
  /** ECX[15:0]: pages beyond the first. */
  readonly extraPages?: number;
  /** ECX[31]: the next page is 4 KiB or 2 MiB on. */
  readonly stride?: "4K" | "2M";
}

/**
 * INVLPGB: asks every logical CPU, this one too, to drop translations. It is weakly ordered: nothing is certain to be
 * gone anywhere before {@link tlbsync} on this CPU, so here nothing goes earlier. Returns the fault it raises, or done.
 */
export function invlpgb(cpu: Cpu, request: InvlpgbRequest): ControlResult {
  const { model, pcide, levels, tce } = cpu.control;
  const { address, pcid, asid = 0, extraPages = 0, stride = "4K" } = request;
  if (model.invlpgbPages === null) return refuse("#UD", `INVLPGB: ${model.name} does not have it`);
  if (cpu.cpl !== 0) return refuse("#GP", `INVLPGB at CPL ${cpu.cpl}`);
  if (!(extraPages >= 0 && extraPages <= model.invlpgbPages)) {
    return refuse(
      "#GP",
      `INVLPGB of ${extraPages} extra pages: ${model.name} takes up to ${model.invlpgbPages}`,
    );
  }
  if (pcid !== undefined && (!(pcid >= 0 && pcid < 4096) || (pcid !== 0 && !pcide))) {
    return refuse("#GP", `INVLPGB of PCID ${pcid} while CR4.PCIDE is ${Number(pcide)}`);
  }
  if (asid !== 0) return { ok: true };
  const globals = request.includeGlobals ? "all" : "keep";
  const tables = request.finalOnly ? "keep" : tce && address !== undefined ? "path" : "all";
  const base = { pcid: pcid ?? ALL_PCIDS, globals, tables } as const;
  const scopes: InvalidationScope[] = [];
  if (address === undefined) scopes.push({ ...base, page: null });
  else {
    checkLinear(address);
    const step = stride === "2M" ? 0x20_0000n : 0x1000n;
    for (let page = 0; page <= extraPages; page++) {
      const at = BigInt.asUintN(64, BigInt(address) + BigInt(page) * step);
      const words = { lo: linearLo(at), hi: linearHi(at) };
      if (isCanonical(words.hi, levels)) scopes.push({ ...base, page: words });
    }
  }
  const { machine, id } = cpu;
  machine.broadcasts = [...machine.broadcasts, ...scopes.map((scope) => ({ from: id, scope }))];
  return { ok: true };
}

/** TLBSYNC: waits until every INVLPGB of this CPU is done on every CPU. Returns the fault it raises, or done. */
export function tlbsync(cpu: Cpu): ControlResult {
  const { machine, id } = cpu;
  const { model } = cpu.control;
  if (model.invlpgbPages === null) return refuse("#UD", `TLBSYNC: ${model.name} does not have it`);
  if (cpu.cpl !== 0) return refuse("#GP", `TLBSYNC at CPL ${cpu.cpl}`);
  const own = machine.broadcasts.filter(({ from }) => from === id);
  machine.broadcasts = machine.broadcasts.filter(({ from }) => from !== id);
  for (const { scope } of own) {
    for (const target of machine.cpus) target.invalidate("INVLPGB", scope);
  }
  return { ok: true };
}

function refuse(fault: "#GP" | "#UD", why: string): ControlResult {
  return { ok: false, fault, why };
}
