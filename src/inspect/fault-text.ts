import {
  PF_I,
  PF_P,
  PF_PK,
  PF_RMP,
  PF_RSVD,
  PF_SGX,
  PF_SS,
  PF_U,
  PF_W,
} from "../../arch/x86/cpu/page-fault.ts";
import type { Paint } from "../text/paint.ts";
import { ERROR_CODE_BITS, errorCodeAccess, errorCodeConflicts } from "./error-code.ts";

/** A page fault's error code as lines for a person: the access, each bit, what cannot stand together, causes. */
export function faultLines(code: number, paint: Paint): string[] {
  const conflicts = errorCodeConflicts(code);
  const rows = ERROR_CODE_BITS.filter(({ bit }) => bit < PF_SGX || (code & bit) !== 0);
  const lines = [paint("heading", `#PF ${codeText(code)}: ${errorCodeAccess(code)}`)];
  for (const { bit, name, set, clear } of rows) {
    const on = (code & bit) !== 0;
    const text = `  ${numberOf(bit).toString().padStart(2)}  ${name.padEnd(4)}  ${on ? 1 : 0}  ${on ? set : clear}`;
    lines.push(on ? text : paint("quiet", text));
  }
  if (conflicts.length > 0) {
    return [...lines, ...conflicts.map((why) => paint("danger", `  cannot be: ${why}`))];
  }
  return [...lines, ...causesOf(code).map((cause) => `  cause: ${cause}`)];
}

/** The same with stable field names. */
export function faultObject(code: number): object {
  const conflicts = errorCodeConflicts(code);
  return {
    format: "ptescope-fault",
    version: 1,
    code: codeText(code),
    access: errorCodeAccess(code),
    bits: ERROR_CODE_BITS.map(({ bit, name, set, clear }) => {
      const on = (code & bit) !== 0;
      return { bit: numberOf(bit), name, value: on ? 1 : 0, says: on ? set : clear };
    }),
    conflicts,
    causes: conflicts.length > 0 ? [] : causesOf(code),
  };
}

/** What can have raised a fault with this code (SDM vol. 3, 4.6 Access Rights and 4.7). */
export function causesOf(code: number): string[] {
  const has = (bit: number): boolean => (code & bit) !== 0;
  if (has(PF_RMP)) return ["the frame's owner in the reverse map of SEV-SNP is another"];
  if (has(PF_SGX)) return ["the page belongs to an enclave, and SGX refuses the access"];
  if (!has(PF_P)) return ["some entry of the walk has P=0: nothing mapped, swapped out, PROT_NONE"];
  if (has(PF_RSVD)) {
    return ["a bit that must be zero: an address above MAXPHYADDR, PS in a top entry, XD without EFER.NXE"];
  }
  if (has(PF_PK)) return [`${has(PF_U) ? "PKRU" : "PKRU or PKRS"} denies the key of the page`];
  if (has(PF_SS)) return ["the page is no shadow-stack page (R/W=0, D=1) of this mode"];
  const stale = "an older translation in the TLB: memory may allow it by now (a spurious fault)";
  if (has(PF_U)) {
    const rights = has(PF_I)
      ? ["XD=1 in some entry"]
      : has(PF_W)
        ? ["R/W=0 in some entry: copy on write, or read-only"]
        : [];
    return ["U/S=0 in some entry: the page is the supervisor's", ...rights, stale];
  }
  if (has(PF_I)) return ["XD=1 in some entry", "SMEP: the page is a user page (CR4.20)", stale];
  const smap = "SMAP: the page is a user page, CR4.21=1 and AC=0";
  return has(PF_W) ? ["R/W=0 in some entry while CR0.WP=1", smap, stale] : [smap, stale];
}

/** An error code as it is printed everywhere. */
export function codeText(code: number): string {
  return `0x${(code >>> 0).toString(16).padStart(2, "0")}`;
}

function numberOf(bit: number): number {
  return 31 - Math.clz32(bit);
}
