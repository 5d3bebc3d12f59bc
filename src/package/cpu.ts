/**
 * The silicon of an x86-64 machine, and no operating system: physical memory, paging-structure entries, the page walk,
 * TLBs and paging-structure caches, control registers, CPUs that must be told to flush, records of all that happens, and
 * an oracle that says which results of an access the manual allows. Begin with {@link Machine}. Nothing here needs Node.
 */

export {
  ACCESS_FETCH,
  ACCESS_READ,
  ACCESS_SHADOW_READ,
  ACCESS_SHADOW_WRITE,
  ACCESS_WRITE,
  type AccessKind,
  type AccessMode,
  type AccessPolicy,
  DENIED_EXECUTE,
  DENIED_KEY,
  DENIED_SHADOW_STACK,
  DENIED_SMAP,
  DENIED_SMEP,
  DENIED_USER,
  DENIED_WRITE,
  MODE_IMPLICIT,
  MODE_SUPERVISOR,
  MODE_SUPERVISOR_AC,
  MODE_USER,
  RIGHT_KEY_SHIFT,
  RIGHT_KEYED,
  RIGHT_SHADOW_STACK,
  RIGHT_U,
  RIGHT_W,
  RIGHT_XD,
  type RightsPolicy,
} from "../../arch/x86/cpu/access-rights.ts";
export {
  BYTES_OF_LEVEL,
  ENTRIES_PER_TABLE,
  Linear,
  NO_LINEAR,
  NO_PFN,
  NO_SLOT,
  NONE,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGES_OF_LEVEL,
  Pfn,
  Slot,
} from "../../arch/x86/cpu/address.ts";
export type { Bus, BusSize } from "../../arch/x86/cpu/bus.ts";
export {
  CACHE_FLUSHES,
  CACHE_LINE,
  type CacheFlush,
  type CacheHook,
  LINE_FLUSHES,
  type LineFlush,
} from "../../arch/x86/cpu/cache-hook.ts";
export type { CacheState } from "../../arch/x86/cpu/cache-state.ts";
export {
  CONTROL_BITS,
  type ControlBit,
  type ControlResult,
  type ControlState,
  type OtherBits,
} from "../../arch/x86/cpu/control-bits.ts";
export { ControlRegisters, CR3_KEEP, type RegisterValues } from "../../arch/x86/cpu/control-registers.ts";
export { Cpu, type Ipi } from "../../arch/x86/cpu/cpu.ts";
export {
  CPU_MODELS,
  type CpuBehaviour,
  type CpuFeatures,
  type CpuModel,
  cpuModel,
  DEFAULT_CPU_MODEL,
} from "../../arch/x86/cpu/cpu-model.ts";
export type { CacheOptions, TlbOptions, TlbSettings } from "../../arch/x86/cpu/create-tlb.ts";
export { Entry, ZERO_ENTRY } from "../../arch/x86/cpu/entry.ts";
export {
  type BitBound,
  type ConditionalUse,
  type DecodedField,
  ENTRY_KINDS,
  ENTRY_LAYOUT,
  type EntryField,
  type EntryKind,
  type FieldUse,
  type LayoutCondition,
  type LayoutModel,
  LEVEL_NAMES,
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_P,
  PTE_PAT,
  PTE_PAT_LARGE,
  PTE_PCD,
  PTE_PS,
  PTE_PWT,
  PTE_U,
  PTE_W,
  PTE_XD,
  WIDEST_LAYOUT,
} from "../../arch/x86/cpu/entry-layout.ts";
export type { InvlpgbRequest } from "../../arch/x86/cpu/invalidation.ts";
export {
  ALL_PCIDS,
  type ControlInvalidation,
  type FlushingBits,
  INVALIDATIONS,
  type Invalidation,
  type InvalidationColumns,
  type InvalidationOperand,
  type InvalidationRow,
  type InvalidationScope,
} from "../../arch/x86/cpu/invalidation-scope.ts";
export type { LamState } from "../../arch/x86/cpu/linear-address.ts";
export {
  type CpuNumber,
  MAX_CPUS,
  Machine,
  type MachineOptions,
  parseSize,
} from "../../arch/x86/cpu/machine.ts";
export type { AccessResult, AccessSize, Segment } from "../../arch/x86/cpu/memory-access.ts";
export {
  type MtrrRange,
  Mtrrs,
  type MtrrType,
  type WalkMemoryTypes,
} from "../../arch/x86/cpu/memory-type.ts";
export { FAULTED, Mmu } from "../../arch/x86/cpu/mmu.ts";
export {
  type ErrorCodePolicy,
  type FaultFields,
  type FaultKind,
  type FaultReason,
  PageFault,
  PF_I,
  PF_P,
  PF_PK,
  PF_RMP,
  PF_RSVD,
  PF_SGX,
  PF_SS,
  PF_U,
  PF_W,
  WALK_DENIED,
  WALK_NOT_PRESENT,
  WALK_OK,
  WALK_RESERVED,
} from "../../arch/x86/cpu/page-fault.ts";
export { type CachedTableEntry, PagingStructureCache } from "../../arch/x86/cpu/paging-structure-cache.ts";
export { MEMORY_TYPES, type MemoryType, PAT_RESET } from "../../arch/x86/cpu/pat.ts";
export { MAX_MEMORY_BYTES, OUTSIDE, PhysicalMemory } from "../../arch/x86/cpu/physical-memory.ts";
export {
  type Encoding,
  type Field,
  type Fields,
  type Handlers,
  IGNORED,
  ignoring,
  type Kind,
  type Kinds,
  type RecordClass,
  type RecordHeader,
  type RecordOf,
  type RecordsOf,
} from "../../arch/x86/cpu/record.ts";
export {
  type Agent,
  type IsTable,
  NO_FLUSH,
  OUTSIDE_AGENT,
  type RecordListener,
  type RecordSink,
  RecordStream,
} from "../../arch/x86/cpu/record-stream.ts";
export {
  ACCESS_KINDS,
  AGENT_TYPES,
  type AgentType,
  HARDWARE_FIELDS,
  HARDWARE_KINDS,
  type HardwareRecord,
  type HardwareRecordOf,
  INVALIDATION_CAUSES,
  REGISTERS,
  type RegisterName,
} from "../../arch/x86/cpu/records.ts";
export type { OtherRegister } from "../../arch/x86/cpu/register-bits.ts";
export { MSR_EFER, MSR_PAT, MSR_PKRS } from "../../arch/x86/cpu/register-write.ts";
export type { Replacement } from "../../arch/x86/cpu/set-associative-tlb.ts";
export { SparseMemory } from "../../arch/x86/cpu/sparse-memory.ts";
export type { Broadcast, System } from "../../arch/x86/cpu/system.ts";
export { TLB_POLICIES, type Tlb, type TlbPolicy } from "../../arch/x86/cpu/tlb.ts";
export { TLB_DIRTY, TLB_GLOBAL, TLB_MISS, type TlbEntry } from "../../arch/x86/cpu/tlb-entry.ts";
export {
  type LeafLevel,
  TLB_GEOMETRIES,
  type TlbGeometry,
  type TlbStructure,
  type TlbUse,
} from "../../arch/x86/cpu/tlb-geometry.ts";
export type { SavedLargePage, SavedTranslation, TlbState } from "../../arch/x86/cpu/tlb-state.ts";
export {
  HARDWARE_WALK,
  INSPECT,
  OFFSET_MASK,
  type PathStep,
  type WalkOptions,
  WalkResult,
  type WalkStart,
} from "../../arch/x86/cpu/walk-result.ts";
export {
  type OracleOptions,
  type Outcome,
  OutcomeOracle,
  type OutcomeSource,
} from "../../arch/x86/oracle/outcome-oracle.ts";
export type { TlbEntryState, TlbExplanation } from "../../arch/x86/oracle/tlb-report.ts";
export {
  accessMode,
  addressMask,
  bitsOf,
  combineMemoryTypes,
  confirmsFaults,
  controlFlushOf,
  controlFromRegisters,
  controlStateOf,
  coversLeaf,
  coversTable,
  createTlb,
  decode,
  deniedBy,
  describeTlb,
  dispatcher,
  errorCodeOf,
  explainTlb,
  frameOf,
  implicitMode,
  invlpgb,
  invpcid,
  isCanonical,
  isCanonicalOperand,
  isShadowKind,
  isWriteKind,
  judgeKey,
  judgeRights,
  kindOf,
  linearBigInt,
  linearExact,
  linearHi,
  linearLo,
  linearNumber,
  linearPage,
  maskOfUse,
  memoryTypesOf,
  movCr0,
  movCr4,
  otherBitsOf,
  pageTypeOf,
  parsePat,
  patIndex,
  permits,
  rdmsr,
  reasonOf,
  recordedScope,
  reservedMask,
  restoreCaches,
  sameEntry,
  sameRegion,
  saveCaches,
  scopeOf,
  tableIndex,
  tlbsync,
  untagHi,
  useOf,
  violatesLass,
  walk,
  wrmsr,
  wrpkru,
} from "./checked/cpu.ts";
