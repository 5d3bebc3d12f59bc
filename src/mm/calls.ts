import { NONE, type Pfn } from "../../arch/x86/cpu/address.ts";
import { type KernelThread, PartByPart } from "../../arch/x86/mm/step.ts";
import type { Call, Kernel, mm_struct, Task } from "./mm_types.ts";
import type { KernelFunction } from "./records.ts";

/*
 * Which functions a task is in, for whoever reads the records: every kernel function that works on a page says so, in
 * the one form
 *
 *     const task = enter(k.current, "page_mkclean", page, null);
 *     let result: CallResult = ABANDONED;
 *     try {
 *       ...
 *       result = cleaned;
 *       return cleaned;
 *     } finally {
 *       leave(task, result);
 *     }
 *
 * or, where all it does is one walk over the mappings of a page, is a WalkCall, which does the same without a generator.
 */

/** What a call came to; ABANDONED while it has come to nothing. */
export type CallResult = number | boolean | undefined;
/** The result of a call that did not return: it threw, or its thread was stopped. */
export const ABANDONED = undefined;

/** A task enters a function, for a page (NO_PFN: none), in an mm where it works on one; returns the task, for {@link leave}. */
export function enter(task: Task, name: KernelFunction, page: Pfn, mm: mm_struct | null): Task {
  const call = task.calls[task.depth];
  if (call === undefined) task.calls.push({ function: name, page, mm });
  else {
    call.function = name;
    call.page = page;
    call.mm = mm;
  }
  task.depth++;
  const { records } = task.kernel;
  const tell = records.hearer("call-entered");
  if (tell !== null) {
    tell({
      kind: "call-entered",
      seq: records.next(),
      agent: task.id,
      cpu: task.cpu,
      space: mm === null ? NONE : mm.id,
      function: name,
      pfn: page,
    });
  }
  return task;
}

/**
 * The task leaves the function that it entered last. With ABANDONED for a result the function did not return: it threw,
 * or its thread was stopped, perhaps while another task was current.
 */
export function leave(task: Task, result: CallResult): void {
  const { function: name, page, mm } = innermost(task);
  task.depth--;
  const { records } = task.kernel;
  const { id: agent, cpu } = task;
  const space = mm === null ? NONE : mm.id;
  if (result === ABANDONED) {
    if (!records.live) return;
    const seq = records.next();
    records.emit({ kind: "call-abandoned", seq, agent, cpu, space, function: name, pfn: page });
    return;
  }
  const tell = records.hearer("call-left");
  if (tell === null) return;
  const seq = records.next();
  tell({ kind: "call-left", seq, agent, cpu, space, function: name, pfn: page, result: Number(result) });
}

/** A call of a kernel function that walks over the mappings of a page. */
export abstract class WalkCall<T extends number | boolean> extends PartByPart<T> {
  protected readonly k: Kernel;
  protected readonly page: Pfn;
  readonly #name: KernelFunction;
  #task: Task | null = null;

  constructor(k: Kernel, name: KernelFunction, page: Pfn) {
    super();
    this.k = k;
    this.page = page;
    this.#name = name;
  }

  /** What it comes to without a walk and without being entered; undefined if it walks. Throws what the kernel asserts. */
  protected abstract withoutWalk(): T | undefined;
  protected abstract walk(): KernelThread<void>;
  /** What it comes to behind the walk. */
  protected abstract result(): T;

  protected override begin(): KernelThread<unknown> | null {
    const known = this.withoutWalk();
    if (known !== undefined) {
      this.value = known;
      return null;
    }
    this.#task = enter(this.k.current, this.#name, this.page, null);
    return this.walk();
  }

  protected override follow(): null {
    this.value = this.result();
    return null;
  }

  protected override leave(ended: boolean): void {
    if (this.#task !== null) leave(this.#task, ended ? this.value : ABANDONED);
  }
}

/** The function that a task is in, undefined outside any. */
export function innermostCall(task: Task): KernelFunction | undefined {
  return task.depth > 0 ? task.calls[task.depth - 1]?.function : undefined;
}

function innermost(task: Task): Call {
  const call = task.depth > 0 ? task.calls[task.depth - 1] : undefined;
  if (call === undefined) throw new TypeError(`task ${task.name} leaves a function that it has not entered`);
  return call;
}
