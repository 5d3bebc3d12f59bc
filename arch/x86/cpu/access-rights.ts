/**
 * What a translation allows, and the rules that decide an access (SDM vol. 3, 4.6).
 *
 * Rights are *raw*: the AND of R/W and U/S and the OR of XD along the path, with the leaf's key. They are what a
 * TLB entry holds. WP, SMEP, SMAP, AC, PKRU and CPL are applied to them at each use, which is why changing those
 * needs no flush.
 */

import type { CpuModel } from "./cpu-model.ts";

/** Bits of an access kind: it writes, it fetches an instruction, it is made for a shadow stack. */
const KIND_WRITES = 1;
const KIND_FETCHES = 2;
const KIND_SHADOW_STACK = 4;

/** A load of data. */
export const ACCESS_READ = 0;
/** A store of data, or a read-modify-write. */
export const ACCESS_WRITE = KIND_WRITES;
/** An instruction fetch. */
export const ACCESS_FETCH = KIND_FETCHES;
/** A load from a shadow stack, by RET, RSTORSSP and their like (SDM vol. 3, 4.6 Access Rights). */
export const ACCESS_SHADOW_READ = KIND_SHADOW_STACK;
/** A store to a shadow stack, by CALL, WRSS and WRUSS. */
export const ACCESS_SHADOW_WRITE = 5;
/** What an access does; a number, so that a walk can test its bits. */
export type AccessKind =
  | typeof ACCESS_READ
  | typeof ACCESS_WRITE
  | typeof ACCESS_FETCH
  | typeof ACCESS_SHADOW_READ
  | typeof ACCESS_SHADOW_WRITE;

/** Whether accesses of a kind count as writes; in hot code it is `kind & ACCESS_WRITE`. */
export function isWriteKind(kind: number): boolean {
  return (kind & KIND_WRITES) !== 0;
}

/** Whether they are shadow-stack accesses. */
export function isShadowKind(kind: number): boolean {
  return (kind & KIND_SHADOW_STACK) !== 0;
}

/** The mode of an access at CPL 0..2 with RFLAGS.AC = 0. */
export const MODE_SUPERVISOR = 0;
/** The mode of an access at CPL 3. */
export const MODE_USER = 1;
/** Descriptor-table and TSS accesses the CPU makes itself, at any CPL: SMAP applies whatever AC says. */
export const MODE_IMPLICIT = 2;
/** CPL 0..2 with RFLAGS.AC = 1: SMAP does not apply. */
export const MODE_SUPERVISOR_AC = 3;
/** Who makes an access, as the rules of SDM vol. 3, 4.6 Access Rights, tell it. */
export type AccessMode =
  | typeof MODE_SUPERVISOR
  | typeof MODE_USER
  | typeof MODE_IMPLICIT
  | typeof MODE_SUPERVISOR_AC;

/** The mode of an explicit access at a privilege level. */
export function accessMode(cpl: number, ac: boolean): AccessMode {
  if (cpl === 3) return MODE_USER;
  return ac ? MODE_SUPERVISOR_AC : MODE_SUPERVISOR;
}

/** The mode of an access that the CPU makes itself, or as an emulator takes it: {@link CpuModel.acExemptsImplicit}. */
export function implicitMode(
  model: Pick<CpuModel, "acExemptsImplicit">,
  cpl: number,
  ac: boolean,
): AccessMode {
  const exempt = model.acExemptsImplicit;
  const lifted = exempt === "always" || (exempt === "cpl0" && cpl !== 3);
  return lifted && ac ? MODE_SUPERVISOR_AC : MODE_IMPLICIT;
}

/** R/W in every entry of the path; the same bit position as in an entry. */
export const RIGHT_W = 2;
/** U/S in every entry of the path: a user-mode address. */
export const RIGHT_U = 4;
/** XD in some entry of the path. */
export const RIGHT_XD = 8;
/** Shadow-stack page: R/W above the leaf, and a leaf with R/W=0 and D=1. */
export const RIGHT_SHADOW_STACK = 0x10;
/** PKRU guards the page. Only where {@link CpuModel.keyPage} is not the path: there it is {@link RIGHT_U}. */
export const RIGHT_KEYED = 0x20;
/** The leaf's protection key: four bits from here. */
export const RIGHT_KEY_SHIFT = 16;

/* Why an access is denied: a set of these bits, 0 when it is allowed (SDM vol. 3, 4.6 Access Rights). */

/** A user-mode access to a supervisor-mode address. */
export const DENIED_USER = 1;
/** A write where some entry of the path has R/W=0. */
export const DENIED_WRITE = 2;
/** A fetch where some entry of the path has XD=1. */
export const DENIED_EXECUTE = 4;
/** A supervisor-mode fetch from a user-mode address while CR4.SMEP = 1. */
export const DENIED_SMEP = 8;
/** A supervisor-mode data access to a user-mode address while CR4.SMAP = 1. */
export const DENIED_SMAP = 0x10;
/** The page's protection key forbids it (SDM vol. 3, 4.6.2 Protection Keys). */
export const DENIED_KEY = 0x20;
/** A shadow-stack access to any other page, or to one of the other mode. */
export const DENIED_SHADOW_STACK = 0x40;

/** The control state the rules read. */
export interface AccessPolicy {
  readonly wp: boolean;
  readonly nxe: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly pke: boolean;
  readonly pks: boolean;
  /** Two bits a key: AD at 2k, WD at 2k + 1; for user-mode addresses. */
  readonly pkru: number;
  /** The same for supervisor-mode addresses (IA32_PKRS). */
  readonly pkrs: number;
  /** The right of pages that PKRU guards: RIGHT_U, or RIGHT_KEYED for a CPU that decides otherwise. */
  readonly keyRight: number;
  /** See {@link CpuModel.keyStopsSupervisor}. */
  readonly keyStopsSupervisor: boolean;
}

/** The part of a policy that {@link judgeRights} reads. */
export type RightsPolicy = Pick<AccessPolicy, "wp" | "nxe" | "smep" | "smap">;

/** Page rights against access and policy, without keys: a set of DENIED_* bits. */
export function judgeRights(rights: number, kind: number, mode: number, policy: RightsPolicy): number {
  if ((kind & KIND_SHADOW_STACK) !== 0) return judgeShadowStack(rights, mode);
  const userPage = (rights & RIGHT_U) !== 0;
  const writes = (kind & KIND_WRITES) !== 0;
  const fetches = (kind & KIND_FETCHES) !== 0;
  if (mode === MODE_USER) {
    let denied = userPage ? 0 : DENIED_USER;
    if (writes && (rights & RIGHT_W) === 0) denied |= DENIED_WRITE;
    if (fetches && policy.nxe && (rights & RIGHT_XD) !== 0) denied |= DENIED_EXECUTE;
    return denied;
  }
  let denied = 0;
  if (writes && (rights & RIGHT_W) === 0 && policy.wp) denied |= DENIED_WRITE;
  if (fetches) {
    if (policy.nxe && (rights & RIGHT_XD) !== 0) denied |= DENIED_EXECUTE;
    if (policy.smep && userPage) denied |= DENIED_SMEP;
  } else if (policy.smap && userPage && mode !== MODE_SUPERVISOR_AC) {
    denied |= DENIED_SMAP;
  }
  return denied;
}

/** A shadow-stack access, read or write, needs a shadow-stack page of its own mode; SMAP and WP add nothing. */
function judgeShadowStack(rights: number, mode: number): number {
  const ownMode = ((rights & RIGHT_U) !== 0) === (mode === MODE_USER);
  return ownMode && (rights & RIGHT_SHADOW_STACK) !== 0 ? 0 : DENIED_SHADOW_STACK;
}

/**
 * The protection-key rule (SDM vol. 3, 4.6.2): DENIED_KEY or 0. Fetches ignore keys. PKRU guards user-mode
 * addresses against user and supervisor accesses alike, PKRS guards supervisor-mode addresses. A user access to a
 * supervisor page is stopped by U/S; that it then reports no key is this model's choice, not verified on silicon.
 */
export function judgeKey(rights: number, kind: number, mode: number, policy: AccessPolicy): number {
  if ((kind & KIND_FETCHES) !== 0) return 0;
  const userPage = (rights & policy.keyRight) !== 0;
  if (!(userPage ? policy.pke : policy.pks && mode !== MODE_USER)) return 0;
  const key = (rights >>> RIGHT_KEY_SHIFT) & 0xf;
  const bits = (userPage ? policy.pkru : policy.pkrs) >>> (2 * key);
  if ((bits & 1) !== 0 && (mode === MODE_USER || policy.keyStopsSupervisor)) return DENIED_KEY;
  const writeObeys = mode === MODE_USER || policy.wp;
  return (kind & KIND_WRITES) !== 0 && (bits & 2) !== 0 && writeObeys ? DENIED_KEY : 0;
}

/**
 * Whether LASS forbids an address by its bit 63, before any walk: the upper half is the supervisor's; the lower half is
 * the user's, closed to supervisor fetches, and to supervisor data accesses where SMAP would stop them.
 */
export function violatesLass(
  policy: Pick<AccessPolicy, "smap">,
  hi: number,
  kind: number,
  mode: number,
): boolean {
  if (mode === MODE_USER) return hi < 0;
  if (hi < 0) return false;
  return (kind & KIND_FETCHES) !== 0 || (policy.smap && mode !== MODE_SUPERVISOR_AC);
}

/** Entries of a permission table: 4 modes x 8 kinds (three spare) x 16 combinations of W, U, XD, shadow stack. */
export const PERMISSION_CASES = 512;

/** The index of an access in a permission table. */
export function permissionIndex(rights: number, kind: number, mode: number): number {
  return (mode << 7) | (kind << 4) | ((rights >>> 1) & 15);
}

const tables = new Map<number, Uint8Array>();

/**
 * {@link judgeRights} of every case, so that a check costs one load. It depends on four control bits alone: CPL and AC
 * are in the index, and keys are judged apart. Tables are made once and shared: do not write to one.
 */
export function permissionTable(policy: RightsPolicy): Uint8Array {
  const { wp, nxe, smep, smap } = policy;
  const name = Number(wp) | (Number(nxe) << 1) | (Number(smep) << 2) | (Number(smap) << 3);
  let table = tables.get(name);
  if (table === undefined) {
    table = Uint8Array.from({ length: PERMISSION_CASES }, (_, index) =>
      judgeRights((index & 15) << 1, (index >>> 4) & 7, index >>> 7, policy),
    );
    tables.set(name, table);
  }
  return table;
}
