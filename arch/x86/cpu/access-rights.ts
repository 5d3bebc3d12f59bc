/**
 * What a translation allows, and the rules that decide an access (SDM vol. 3, 4.6).
 *
 * Rights are *raw*: the AND of R/W and U/S and the OR of XD along the path, with the leaf's key. They are what a
 * TLB entry holds. WP, SMEP, SMAP, AC, PKRU and CPL are applied to them at each use, which is why changing those
 * needs no flush.
 */

export const ACCESS_READ = 0;
export const ACCESS_WRITE = 1;
export const ACCESS_FETCH = 2;
export type AccessKind = typeof ACCESS_READ | typeof ACCESS_WRITE | typeof ACCESS_FETCH;

/** CPL 0..2 with RFLAGS.AC = 0. */
export const MODE_SUPERVISOR = 0;
/** CPL 3. */
export const MODE_USER = 1;
/** Descriptor-table and TSS accesses the CPU makes itself, at any CPL: SMAP applies whatever AC says. */
export const MODE_IMPLICIT = 2;
/** CPL 0..2 with RFLAGS.AC = 1: SMAP does not apply. */
export const MODE_SUPERVISOR_AC = 3;
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

/** R/W in every entry of the path; the same bit position as in an entry. */
export const RIGHT_W = 2;
/** U/S in every entry of the path: a user-mode address. */
export const RIGHT_U = 4;
/** XD in some entry of the path. */
export const RIGHT_XD = 8;
/** Shadow-stack page: R/W above the leaf, and a leaf with R/W=0 and D=1. */
export const RIGHT_SHADOW_STACK = 0x10;
/** The leaf's protection key: four bits from here. */
export const RIGHT_KEY_SHIFT = 16;

/** Why an access is denied; several may hold at once. 0 = allowed. */
export const DENIED_USER = 1;
export const DENIED_WRITE = 2;
export const DENIED_EXECUTE = 4;
export const DENIED_SMEP = 8;
export const DENIED_SMAP = 0x10;
export const DENIED_KEY = 0x20;

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
}

/** Page rights against access and policy, without keys: a set of DENIED_* bits. */
export function judgeRights(rights: number, kind: number, mode: number, policy: AccessPolicy): number {
  const userPage = (rights & RIGHT_U) !== 0;
  if (mode === MODE_USER) {
    let denied = userPage ? 0 : DENIED_USER;
    if (kind === ACCESS_WRITE && (rights & RIGHT_W) === 0) denied |= DENIED_WRITE;
    if (kind === ACCESS_FETCH && policy.nxe && (rights & RIGHT_XD) !== 0) denied |= DENIED_EXECUTE;
    return denied;
  }
  let denied = 0;
  if (kind === ACCESS_WRITE && (rights & RIGHT_W) === 0 && policy.wp) denied |= DENIED_WRITE;
  if (kind === ACCESS_FETCH) {
    if (policy.nxe && (rights & RIGHT_XD) !== 0) denied |= DENIED_EXECUTE;
    if (policy.smep && userPage) denied |= DENIED_SMEP;
  } else if (policy.smap && userPage && mode !== MODE_SUPERVISOR_AC) {
    denied |= DENIED_SMAP;
  }
  return denied;
}

/**
 * The protection-key rule (SDM vol. 3, 4.6.2): DENIED_KEY or 0. Fetches ignore keys. PKRU guards user-mode
 * addresses against user and supervisor accesses alike, PKRS guards supervisor-mode addresses. A user access to a
 * supervisor page is stopped by U/S; that it then reports no key is this model's choice, not verified on silicon.
 */
export function judgeKey(rights: number, kind: number, mode: number, policy: AccessPolicy): number {
  if (kind === ACCESS_FETCH) return 0;
  const userPage = (rights & RIGHT_U) !== 0;
  if (!(userPage ? policy.pke : policy.pks && mode !== MODE_USER)) return 0;
  const key = (rights >>> RIGHT_KEY_SHIFT) & 0xf;
  const bits = (userPage ? policy.pkru : policy.pkrs) >>> (2 * key);
  if ((bits & 1) !== 0) return DENIED_KEY;
  const writeObeys = mode === MODE_USER || policy.wp;
  return kind === ACCESS_WRITE && (bits & 2) !== 0 && writeObeys ? DENIED_KEY : 0;
}

/** Entries of a permission table: 4 modes x 4 kinds (one spare) x 8 combinations of W, U, XD. */
export const PERMISSION_CASES = 128;

/** The index of an access in a permission table. */
export function permissionIndex(rights: number, kind: number, mode: number): number {
  return (mode << 5) | (kind << 3) | ((rights >>> 1) & 7);
}

/**
 * Writes {@link judgeRights} of every case into a table, so that a check costs one load. It depends on control bits
 * alone: CPL and AC are in the index, and keys are judged apart.
 */
export function fillPermissions(policy: AccessPolicy, table: Uint8Array): void {
  for (let index = 0; index < PERMISSION_CASES; index++) {
    table[index] = judgeRights((index & 7) << 1, (index >>> 3) & 3, index >>> 5, policy);
  }
}
