import {
  type AccessStep,
  type CaseQuestion,
  type ControlStep,
  type Expectation,
  type ExpectedResult,
  type ExpectedWord,
  type Outcome,
  type Registers,
  type Step,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_SS,
  VECTOR_UD,
} from "./case.ts";
import { A, D, faultOf, isCanonical, isWrite, type Path, type WalkFault, walkDown } from "./oracle-walk.ts";

const ALL = (1n << 64n) - 1n;
const CR0_PG = 1n << 31n;
const CR4_FIXED = (1n << 5n) | (1n << 12n);
const CR4_PCIDE = 1n << 17n;
const CR4_PKE = 1n << 22n;
const KEEP = 1n << 63n;
const DONE: Outcome = { done: true };

/** One page of an access, walked and judged. */
interface Walked {
  readonly path: Path;
  readonly fault: WalkFault | null;
}

/**
 * A CPU without a TLB, as the manual describes it: what must happen when nothing is cached. Where something may be
 * cached, a case adds the outcomes that this allows.
 *
 * A and D follow the portable rule: a walk that succeeds sets A in every entry and a write D in the last one; after a
 * fault the entry that caused it is unchanged, and A of those above it may or may not be set.
 */
class Oracle {
  readonly #question: CaseQuestion;
  readonly #words = new Map<number, { value: bigint; ignore: bigint }>();
  #registers: Registers;

  constructor(question: CaseQuestion) {
    this.#question = question;
    this.#registers = question.registers;
    for (const { pa, value } of question.memory) this.#words.set(pa, { value, ignore: 0n });
  }

  step(step: Step): ExpectedResult {
    switch (step.op) {
      case "access":
        return this.#access(step);
      case "write_entry":
        this.#words.set(step.pa, { value: step.value, ignore: 0n });
        return { allow: [DONE], rule: "store" };
      case "mov_cr3":
        return this.#movCr3(step.value);
      case "invlpg":
        return { allow: [DONE], rule: "invlpg" };
      case "invpcid":
        return { allow: [this.#invpcid(step)], rule: "invpcid" };
      case "control":
        return { allow: [this.#control(step)], rule: "control" };
    }
  }

  after(): ExpectedWord[] {
    return this.#question.memory.map(({ pa }) => ({ ...this.#words.get(pa)! }));
  }

  #access(access: AccessStep): ExpectedResult {
    const { la, size, stack } = access;
    const last = (la + BigInt(size - 1)) & ALL;
    if (!isCanonical(la, this.#registers) || !isCanonical(last, this.#registers)) {
      const fault = { vector: stack ? VECTOR_SS : VECTOR_GP, error: 0 };
      return { allow: [{ fault }], rule: stack ? "canonical-stack" : "canonical" };
    }
    const pages = la >> 12n === last >> 12n ? [la] : [la, last & ~0xfffn];
    const walked: Walked[] = [];
    for (const start of pages) {
      const path = walkDown(start, this.#question.cpu, this.#registers, (pa) => this.#read(pa));
      const fault = faultOf(path, access, this.#registers);
      walked.push({ path, fault });
      if (fault === null) continue;
      this.#stop(walked, isWrite(access));
      const errors = fault.alternative === null ? [fault.error] : [fault.error, fault.alternative];
      return {
        allow: errors.map((error) => ({ fault: { vector: VECTOR_PF, error, cr2: start } })),
        rule: fault.rule,
      };
    }
    for (const { path } of walked) this.#use(path, isWrite(access));
    if (access.kind === "write" || access.kind === "wruss") this.#store(walked, la, size);
    return { allow: [{ pa: walked[0]!.path.pa }], rule: "translate" };
  }

  #read(pa: number): bigint {
    return this.#words.get(pa)?.value ?? 0n;
  }

  /** A walk succeeded. */
  #use({ entries }: Path, write: boolean): void {
    for (const pa of entries) this.#settle(pa, A);
    if (write) this.#settle(entries.at(-1)!, D);
  }

  /** An access faulted on the last page walked: bits that the walks before may have set are left open. */
  #stop(walked: readonly Walked[], write: boolean): void {
    for (const { path, fault } of walked) {
      for (const pa of path.entries.slice(0, -1)) this.#leaveOpen(pa, A);
      if (fault === null) this.#leaveOpen(path.entries.at(-1)!, write ? A | D : A);
    }
  }

  #settle(pa: number, bits: bigint): void {
    const word = this.#words.get(pa);
    if (word === undefined) return;
    word.value |= bits;
    word.ignore &= ~bits;
  }

  #leaveOpen(pa: number, bits: bigint): void {
    const word = this.#words.get(pa);
    if (word !== undefined) word.ignore |= bits & ~word.value;
  }

  /** What a write stores is not part of the case: the words it reaches are not compared. */
  #store(walked: readonly Walked[], la: bigint, size: number): void {
    const inFirst = Math.min(size, 4096 - Number(la & 0xfffn));
    const parts = [inFirst, size - inFirst];
    walked.forEach(({ path }, page) => {
      const end = path.pa + parts[page]!;
      for (let pa = path.pa - (path.pa % 8); pa < end; pa += 8) {
        const word = this.#words.get(pa);
        if (word !== undefined) word.ignore = ALL;
      }
    });
  }

  #movCr3(value: bigint): ExpectedResult {
    const address = BigInt(this.#question.cpu.maxphyaddr);
    const reserved = (value & ~KEEP) >> address !== 0n;
    if (reserved || ((value & KEEP) !== 0n && !this.#has(CR4_PCIDE))) {
      return { allow: [generalProtection()], rule: "control" };
    }
    this.#registers = { ...this.#registers, cr3: value & ~KEEP };
    return { allow: [DONE], rule: "mov-cr3" };
  }

  #invpcid({ type, pcid, la }: { type: number; pcid: bigint; la: bigint }): Outcome {
    const single = type === 0 || type === 1;
    const illegal =
      type > 3 ||
      pcid >> 12n !== 0n ||
      (single && pcid !== 0n && !this.#has(CR4_PCIDE)) ||
      (type === 0 && !isCanonical(la, this.#registers));
    return illegal ? generalProtection() : DONE;
  }

  #control(step: ControlStep): Outcome {
    const { op: _, ...values } = step;
    const old = this.#registers;
    if (values.cr0 !== undefined && (values.cr0 & CR0_PG) === 0n) return generalProtection();
    if (values.cr4 !== undefined) {
      const setsPcide = (values.cr4 & ~old.cr4 & CR4_PCIDE) !== 0n;
      if (setsPcide && (old.cr3 & 0xfffn) !== 0n) return generalProtection();
      if (((values.cr4 ^ old.cr4) & CR4_FIXED) !== 0n) return generalProtection();
    }
    if (values.pkru !== undefined && !this.#has(CR4_PKE)) return { fault: { vector: VECTOR_UD, error: 0 } };
    this.#registers = { ...old, ...values };
    return DONE;
  }

  #has(cr4Bit: bigint): boolean {
    return (this.#registers.cr4 & cr4Bit) !== 0n;
  }
}

function generalProtection(): Outcome {
  return { fault: { vector: VECTOR_GP, error: 0 } };
}

/** What a CPU that caches nothing must answer. */
export function expectationOf(question: CaseQuestion): Expectation {
  const oracle = new Oracle(question);
  const results = question.steps.map((step) => oracle.step(step));
  return { results, after: oracle.after() };
}
