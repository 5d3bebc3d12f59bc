import * as accessRights from "../../../arch/x86/cpu/access-rights.ts";
import { checked } from "../../../arch/x86/cpu/argument.ts";
import { optional } from "../../../arch/x86/cpu/argument-kinds.ts";
import * as cacheState from "../../../arch/x86/cpu/cache-state.ts";
import * as controlRegisters from "../../../arch/x86/cpu/control-registers.ts";
import * as cpuModel from "../../../arch/x86/cpu/cpu-model.ts";
import * as createTlbFunctions from "../../../arch/x86/cpu/create-tlb.ts";
import * as entry from "../../../arch/x86/cpu/entry.ts";
import * as entryLayout from "../../../arch/x86/cpu/entry-layout.ts";
import * as invalidation from "../../../arch/x86/cpu/invalidation.ts";
import * as invalidationScope from "../../../arch/x86/cpu/invalidation-scope.ts";
import * as linearAddress from "../../../arch/x86/cpu/linear-address.ts";
import * as memoryType from "../../../arch/x86/cpu/memory-type.ts";
import * as pageFault from "../../../arch/x86/cpu/page-fault.ts";
import * as pageWalk from "../../../arch/x86/cpu/page-walk.ts";
import * as pat from "../../../arch/x86/cpu/pat.ts";
import * as record from "../../../arch/x86/cpu/record.ts";
import * as registerBits from "../../../arch/x86/cpu/register-bits.ts";
import * as registerWrite from "../../../arch/x86/cpu/register-write.ts";
import * as walkResult from "../../../arch/x86/cpu/walk-result.ts";
import * as walkRights from "../../../arch/x86/cpu/walk-rights.ts";
import * as outcomeOracle from "../../../arch/x86/oracle/outcome-oracle.ts";
import * as tlbReport from "../../../arch/x86/oracle/tlb-report.ts";
import {
  ACCESS,
  ADDRESS,
  BITS,
  CACHE_STATE,
  CONTROL,
  COUNT,
  CPL,
  CPU,
  DESCRIPTOR,
  ENTRY,
  ENTRY_KIND,
  ERROR_POLICY,
  FIELD,
  FIELD_USE,
  FLAG,
  FLUSHING_BITS,
  HANDLERS,
  INVALIDATED,
  INVALIDATION,
  INVLPGB_REQUEST,
  KEY_POLICY,
  LAM,
  LAYOUT,
  LEVEL,
  LEVELS,
  LINEAR_WIDTH,
  MAXPHYADDR,
  MEMORY,
  MEMORY_TYPE,
  MERGE,
  MMU,
  MODE,
  MODEL,
  MSR,
  MTRR_TYPE,
  MTRRS,
  OPERAND,
  OUTCOME,
  OUTCOMES,
  PCID,
  POLICY,
  POLICY_OF_TLB,
  REGISTER,
  REGISTER_VALUES,
  SCOPE,
  SCOPING,
  SMAP_POLICY,
  SOME_REGISTERS,
  TLB_OPTIONS,
  VALUE,
  VENDOR,
  WALK_END,
  WALK_OPTIONS,
  WALK_RESULT,
  WORD,
} from "./cpu-arguments.ts";

/* The functions of the processor, checked. */

export const accessMode: typeof accessRights.accessMode = checked(accessRights.accessMode, CPL, FLAG);
export const implicitMode: typeof accessRights.implicitMode = checked(
  accessRights.implicitMode,
  MODEL,
  CPL,
  FLAG,
);
export const isShadowKind: typeof accessRights.isShadowKind = checked(accessRights.isShadowKind, ACCESS);
export const isWriteKind: typeof accessRights.isWriteKind = checked(accessRights.isWriteKind, ACCESS);
export const judgeKey: typeof accessRights.judgeKey = checked(
  accessRights.judgeKey,
  WORD,
  ACCESS,
  MODE,
  KEY_POLICY,
);
export const judgeRights: typeof accessRights.judgeRights = checked(
  accessRights.judgeRights,
  WORD,
  ACCESS,
  MODE,
  POLICY,
);
export const violatesLass: typeof accessRights.violatesLass = checked(
  accessRights.violatesLass,
  SMAP_POLICY,
  WORD,
  ACCESS,
  MODE,
);

export const restoreCaches: typeof cacheState.restoreCaches = checked(
  cacheState.restoreCaches,
  MMU,
  CACHE_STATE,
);
export const saveCaches: typeof cacheState.saveCaches = checked(cacheState.saveCaches, MMU);

export const controlFromRegisters: typeof controlRegisters.controlFromRegisters = checked(
  controlRegisters.controlFromRegisters,
  MODEL,
  REGISTER_VALUES,
);

export const confirmsFaults: typeof cpuModel.confirmsFaults = checked(cpuModel.confirmsFaults, MODEL);

export const createTlb: typeof createTlbFunctions.createTlb = checked(
  createTlbFunctions.createTlb,
  POLICY_OF_TLB,
  optional(TLB_OPTIONS),
);

export const frameOf: typeof entry.frameOf = checked(entry.frameOf, WORD, WORD);
export const sameEntry: typeof entry.sameEntry = checked(entry.sameEntry, ENTRY, ENTRY);

export const addressMask: typeof entryLayout.addressMask = checked(
  entryLayout.addressMask,
  ENTRY_KIND,
  LAYOUT,
);
export const bitsOf: typeof entryLayout.bitsOf = checked(entryLayout.bitsOf, FIELD, MAXPHYADDR);
export const decode: typeof entryLayout.decode = checked(
  entryLayout.decode,
  ENTRY_KIND,
  ENTRY,
  optional(LAYOUT),
);
export const kindOf: typeof entryLayout.kindOf = checked(entryLayout.kindOf, LEVEL, WORD);
export const maskOfUse: typeof entryLayout.maskOfUse = checked(
  entryLayout.maskOfUse,
  FIELD_USE,
  ENTRY_KIND,
  LAYOUT,
);
export const reservedMask: typeof entryLayout.reservedMask = checked(
  entryLayout.reservedMask,
  ENTRY_KIND,
  LAYOUT,
);
export const useOf: typeof entryLayout.useOf = checked(entryLayout.useOf, FIELD, ENTRY_KIND, LAYOUT);

export const invlpgb: typeof invalidation.invlpgb = checked(invalidation.invlpgb, CPU, INVLPGB_REQUEST);
export const invpcid: typeof invalidation.invpcid = checked(
  invalidation.invpcid,
  CPU,
  COUNT,
  DESCRIPTOR,
  optional(ADDRESS),
);
export const tlbsync: typeof invalidation.tlbsync = checked(invalidation.tlbsync, CPU);

export const controlFlushOf: typeof invalidationScope.controlFlushOf = checked(
  invalidationScope.controlFlushOf,
  VENDOR,
  FLUSHING_BITS,
  FLUSHING_BITS,
);
export const coversLeaf: typeof invalidationScope.coversLeaf = checked(
  invalidationScope.coversLeaf,
  SCOPE,
  LEVEL,
  WORD,
  WORD,
  PCID,
  FLAG,
);
export const coversTable: typeof invalidationScope.coversTable = checked(
  invalidationScope.coversTable,
  SCOPE,
  LEVEL,
  WORD,
  WORD,
  PCID,
);
export const recordedScope: typeof invalidationScope.recordedScope = checked(
  invalidationScope.recordedScope,
  INVALIDATED,
);
export const sameRegion: typeof invalidationScope.sameRegion = checked(
  invalidationScope.sameRegion,
  LEVEL,
  WORD,
  WORD,
  WORD,
  WORD,
);
export const scopeOf: typeof invalidationScope.scopeOf = checked(
  invalidationScope.scopeOf,
  INVALIDATION,
  SCOPING,
  optional(OPERAND),
);

export const isCanonical: typeof linearAddress.isCanonical = checked(linearAddress.isCanonical, WORD, LEVELS);
export const isCanonicalOperand: typeof linearAddress.isCanonicalOperand = checked(
  linearAddress.isCanonicalOperand,
  WORD,
  LINEAR_WIDTH,
);
export const linearBigInt: typeof linearAddress.linearBigInt = checked(
  linearAddress.linearBigInt,
  WORD,
  WORD,
);
export const linearExact: typeof linearAddress.linearExact = checked(linearAddress.linearExact, WORD, WORD);
export const linearHi: typeof linearAddress.linearHi = checked(linearAddress.linearHi, ADDRESS);
export const linearLo: typeof linearAddress.linearLo = checked(linearAddress.linearLo, ADDRESS);
export const linearNumber: typeof linearAddress.linearNumber = checked(
  linearAddress.linearNumber,
  WORD,
  WORD,
);
export const linearPage: typeof linearAddress.linearPage = checked(linearAddress.linearPage, WORD, WORD);
export const untagHi: typeof linearAddress.untagHi = checked(linearAddress.untagHi, WORD, LAM);

export const combineMemoryTypes: typeof memoryType.combineMemoryTypes = checked(
  memoryType.combineMemoryTypes,
  MTRR_TYPE,
  MEMORY_TYPE,
  optional(MERGE),
);
export const memoryTypesOf: typeof memoryType.memoryTypesOf = checked(
  memoryType.memoryTypesOf,
  WALK_RESULT,
  CONTROL,
  MTRRS,
);
export const pageTypeOf: typeof memoryType.pageTypeOf = checked(
  memoryType.pageTypeOf,
  WALK_RESULT,
  CONTROL,
  MTRRS,
);
export const patIndex: typeof memoryType.patIndex = checked(memoryType.patIndex, LEVEL, WORD);

export const errorCodeOf: typeof pageFault.errorCodeOf = checked(
  pageFault.errorCodeOf,
  WALK_END,
  BITS,
  ACCESS,
  MODE,
  ERROR_POLICY,
);
export const reasonOf: typeof pageFault.reasonOf = checked(pageFault.reasonOf, WALK_END, BITS);

export const deniedBy: typeof walkRights.deniedBy = checked(walkRights.deniedBy, CONTROL, WORD, ACCESS, MODE);
export const walk: typeof pageWalk.walk = checked(
  pageWalk.walk,
  MEMORY,
  CONTROL,
  WORD,
  WORD,
  ACCESS,
  MODE,
  WALK_OPTIONS,
  WALK_RESULT,
);

export const parsePat: typeof pat.parsePat = checked(pat.parsePat, VALUE);

export const dispatcher: typeof record.dispatcher = checked(record.dispatcher, HANDLERS);

export const otherBitsOf: typeof registerBits.otherBitsOf = checked(
  registerBits.otherBitsOf,
  REGISTER,
  MODEL,
);

export const controlStateOf: typeof registerWrite.controlStateOf = checked(
  registerWrite.controlStateOf,
  SOME_REGISTERS,
);
export const movCr0: typeof registerWrite.movCr0 = checked(registerWrite.movCr0, CPU, VALUE);
export const movCr4: typeof registerWrite.movCr4 = checked(registerWrite.movCr4, CPU, VALUE);
export const rdmsr: typeof registerWrite.rdmsr = checked(registerWrite.rdmsr, CPU, MSR);
export const wrmsr: typeof registerWrite.wrmsr = checked(registerWrite.wrmsr, CPU, MSR, VALUE);
export const wrpkru: typeof registerWrite.wrpkru = checked(registerWrite.wrpkru, CPU, BITS, optional(BITS));

export const tableIndex: typeof walkResult.tableIndex = checked(walkResult.tableIndex, LEVEL, WORD, WORD);

export const permits: typeof outcomeOracle.permits = checked(outcomeOracle.permits, OUTCOMES, OUTCOME);

export const describeTlb: typeof tlbReport.describeTlb = checked(tlbReport.describeTlb, CPU);
export const explainTlb: typeof tlbReport.explainTlb = checked(tlbReport.explainTlb, CPU);
