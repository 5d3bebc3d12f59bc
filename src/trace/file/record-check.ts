import { NONE } from "../../../arch/x86/cpu/address.ts";
import { type FieldName, KINDS, type RecordKind, type TraceRecord } from "../record.ts";
import type { RecordedMachine } from "./header.ts";
import { Introductions } from "./introductions.ts";
import { Misfit, refuse } from "./misfit.ts";

/** Largest order of a page, that of 1 GiB. */
const MAX_ORDER = 18;
/**
 * Whoever judges goes through the frames of pages one by one, so what a short file may cost has a bound: so many frames,
 * and those of a 2-MiB page for each record.
 */
const FREE_FRAMES = 2 ** 24;
const FRAMES_PER_RECORD = 512;

/** Kinds whose CPU must be told: a judge follows what it has cached. */
const ON_A_CPU: ReadonlySet<RecordKind> = new Set([
  "tlb-filled",
  "cr3-loaded",
  "register-loaded",
  "invalidated",
  "access",
  "fault",
  "ipi-sent",
  "interrupt-taken",
  "ipi-handled",
  "privilege-changed",
  "halted",
  "lazy-entered",
  "lazy-left",
]);

type Range = readonly [least: number, most: number];

/** What fields of a kind must be, where a judge cannot do without: NONE is not among it. */
const NEEDED: Readonly<Partial<Record<RecordKind, Readonly<Partial<Record<FieldName, Range>>>>>> = {
  "entry-written": { slot: [0, Infinity] },
  "accessed-dirty-set": { slot: [0, Infinity] },
  "table-linked": { pfn: [0, Infinity], level: [1, 5] },
  "spte-installed": { pfn: [0, Infinity], level: [1, 2] },
  "spte-dropped": { level: [1, 2] },
};

type FieldCheck = (value: unknown) => void;

/**
 * Checks records one by one, beyond what their encodings say: numbers must rise, CPUs exist, ids be introduced, slots lie
 * in memory. It keeps what is introduced, and no record.
 */
export class RecordCheck {
  readonly #machine: RecordedMachine;
  readonly #introductions = new Introductions();
  readonly #checks = new Map<string, readonly (readonly [FieldName, FieldCheck])[]>();
  #seq = 0;
  #framesLeft = FREE_FRAMES;

  constructor(machine: RecordedMachine) {
    this.#machine = machine;
    const checks = this.#fieldChecks();
    for (const kind of Object.keys(KINDS) as RecordKind[]) {
      const own = KINDS[kind].has.flatMap((name) => {
        const needed = NEEDED[kind]?.[name];
        const both = [checks[name], needed === undefined ? undefined : within(name, needed)];
        return both.flatMap((check) => (check === undefined ? [] : [[name, check] as const]));
      });
      this.#checks.set(kind, own);
    }
  }

  /** Takes the next record. Throws Misfit. */
  take(record: TraceRecord): void {
    const { kind, seq, cpu } = record;
    if (seq < this.#seq) refuse("seq", `${this.#seq} or more, after the record before`, seq);
    this.#seq = seq;
    this.#framesLeft += FRAMES_PER_RECORD;
    if (cpu !== NONE || ON_A_CPU.has(kind)) this.#checkCpu("cpu", cpu);
    const checks = this.#checks.get(kind)!;
    for (let i = 0; i < checks.length; i++) {
      const [name, check] = checks[i]!;
      check((record as unknown as Record<string, unknown>)[name]);
    }
    this.#introductions.begin(record);
    const unknown = this.#introductions.unknown(record);
    if (unknown !== null) throw new Misfit(`${unknown.of} ${unknown.id} to be introduced before it is named`);
    this.#introductions.end(record);
  }

  /** What fields must be, besides what their encodings say. */
  #fieldChecks(): Partial<Record<FieldName, FieldCheck>> {
    const { memory, cpus } = this.#machine;
    const checkOrder = within("order", [0, MAX_ORDER]);
    const root = (name: string): FieldCheck => {
      return (value) => {
        if (value !== NONE && (value as number) % 4096 !== 0) refuse(name, "the address of a page", value);
      };
    };
    return {
      slot: (value) => {
        if ((value as number) >= memory) refuse("slot", `below the ${memory} bytes of memory`, value);
      },
      level: within("level", [NONE, 5]),
      order: (value) => {
        checkOrder(value);
        this.#framesLeft -= 2 ** (value as number);
        if (this.#framesLeft < 0) throw new Misfit(`at most ${FRAMES_PER_RECORD} frames a record on average`);
      },
      pcid: within("pcid", [NONE, 4095]),
      cpl: within("cpl", [0, 3]),
      to: (value) => this.#checkCpu("to", value as number),
      from: (value) => this.#checkCpu("from", value as number),
      root: root("root"),
      oldRoot: root("oldRoot"),
      userRoot: root("userRoot"),
      cpus: (value) => {
        const words = value as readonly number[];
        for (let i = 0; i < words.length; i++) {
          const room = cpus - 32 * i;
          const outside = room >= 32 ? 0 : room <= 0 ? words[i]! : words[i]! >>> room;
          if (outside !== 0) this.#checkCpu("cpus", Math.max(cpus, 32 * (i + 1) - 1 - Math.clz32(words[i]!)));
        }
      },
    };
  }

  #checkCpu(name: string, cpu: number): void {
    const { cpus } = this.#machine;
    if (cpu < 0 || cpu >= cpus) refuse(name, `a CPU from 0 to ${cpus - 1}`, cpu === NONE ? undefined : cpu);
  }
}

function within(name: string, [least, most]: Range): FieldCheck {
  const form = most === Infinity ? `${least} or more` : `from ${least} to ${most}`;
  return (value) => {
    if ((value as number) < least || (value as number) > most) refuse(name, form, value);
  };
}
