import { Context, GLOBAL } from "./debt.ts";
import type { Root } from "./spaces.ts";

/** One CPU: a context for each PCID that it has used, of which one is current, and one for global translations. */
export class CpuContexts {
  readonly cpu: number;
  readonly byPcid = new Map<number, Context>();
  readonly global: Context;
  current: Context;
  /** The root that is loaded. */
  root: Root | null = null;
  /** The CPU only borrows the loaded address space (lazy TLB): it uses no user address. */
  lazy = false;

  constructor(cpu: number) {
    this.cpu = cpu;
    this.global = new Context(cpu, GLOBAL);
    this.current = this.of(0);
  }

  /** The context of a PCID. */
  of(pcid: number): Context {
    let context = this.byPcid.get(pcid);
    if (context === undefined) {
      context = new Context(this.cpu, pcid);
      this.byPcid.set(pcid, context);
    }
    return context;
  }
}
