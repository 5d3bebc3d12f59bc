import type { Cpu } from "./cpu.ts";

/** An inter-processor interrupt: sent, pending at its target, then done. */
export interface Ipi {
  readonly from: number;
  readonly to: number;
  /** The flush that it is part of, or NO_FLUSH. */
  readonly flush: number;
  readonly handler: (cpu: Cpu) => void;
  /** Whether the target has run the handler. */
  done: boolean;
}
