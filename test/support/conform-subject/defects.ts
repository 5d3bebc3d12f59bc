/** One mistake each, which a walker can be told to make. */
export const DEFECTS = {
  "high-bits-free": "physical-address bits from MAXPHYADDR up are not reserved",
  "large-leaf-bits-free": "the low bits of large leaves are not reserved",
  "pml4e-ps-free": "PS in a PML4E is ignored",
  "rights-too-early": "rights are judged at each level, before the entries below are looked at",
  "rsvd-without-p": "reserved-bit faults are reported with P=0",
  "leaf-rights-only": "rights are those of the leaf, not of the whole path",
  "pte-bit-12-is-pat": "PAT of a PTE is taken from bit 12, which is then no address bit",
  "a-on-fault": "A is set in a leaf whose rights deny the access",
  "d-on-read": "a read sets D",
  "pcid-ignored": "the TLB does not know PCIDs",
  "wp-ignored": "a supervisor write never looks at R/W",
  "xd-without-nxe": "bit 63 is XD even while NXE=0",
  "ac-ignored": "SMAP does not look at AC",
  "fetch-always-told": "a fetch reports I/D also while NXE=0 and SMEP=0",
  "cr2-of-page": "CR2 has no low bits",
  "keys-for-users-only": "PKRU does not stop the supervisor",
  "keys-by-upper-levels": "whether PKRU applies is decided above the leaf",
  "canonical-unchecked": "the upper bits of an address are cut off",
  "invlpg-spares-globals": "INVLPG leaves global translations alone",
  "clean-write-hits": "a write through a cached translation with D=0 looks at no table",
} as const;

export type DefectName = keyof typeof DEFECTS;

export function isDefect(name: string): name is DefectName {
  return Object.hasOwn(DEFECTS, name);
}
