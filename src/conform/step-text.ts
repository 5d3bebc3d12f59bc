import { hex } from "../text/hex.ts";
import type { Step } from "./case.ts";

const KIND_NAMES = {
  read: "read",
  write: "write",
  rmw: "read-modify-write",
  fetch: "fetch",
  implicit_read: "read by the CPU itself",
  wruss: "WRUSS",
} as const;

/** A step in words. */
export function describeStep(step: Step): string {
  switch (step.op) {
    case "access": {
      const who = step.cpl === 3 ? "user" : step.ac ? "supervisor (AC=1)" : "supervisor";
      const through = step.stack ? " through SS" : "";
      return `${who} ${KIND_NAMES[step.kind]} of ${step.size} at ${hex(step.la)}${through}`;
    }
    case "write_entry":
      return `${hex(step.pa)} := ${hex(step.value)}`;
    case "mov_cr3":
      return `MOV ${hex(step.value)} to CR3`;
    case "invlpg":
      return `INVLPG ${hex(step.la)}`;
    case "invpcid":
      return `INVPCID ${step.type}, PCID ${hex(step.pcid)}, ${hex(step.la)}`;
    case "control": {
      const { op: _, ...values } = step;
      return Object.entries(values)
        .map(([name, value]) => `${name.toUpperCase()} := ${hex(value)}`)
        .join(", ");
    }
  }
}
