import type { KernelThread, Step, StepKind } from "../../arch/x86/mm/step.ts";

/** Resumes a thread and says where it stops: the kind of the step in front of which it stands, or "end". */
export function advance(thread: KernelThread<unknown>): StepKind | "end" {
  const next = thread.next();
  return next.done ? "end" : next.value.kind;
}

/** As {@link advance}, with what the step is about; a copy, because the thread's own is used again. */
export function advanceTo(thread: KernelThread<unknown>): Step | "end" {
  const next = thread.next();
  return next.done ? "end" : { ...next.value };
}
