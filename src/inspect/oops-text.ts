/** Registers that an oops prints, by Linux's names. */
export const OOPS_REGISTERS = ["cr0", "cr2", "cr3", "cr4", "efer", "pkru", "eflags"] as const;
/** Name of a register that an oops prints. */
export type OopsRegister = (typeof OOPS_REGISTERS)[number];

/** Linux's name of a level, as an oops prints it. */
export type OopsLevel = "PGD" | "P4D" | "PUD" | "PMD" | "PTE";

/** One entry that an oops prints. */
export interface OopsEntry {
  readonly name: OopsLevel;
  /** 1 (PTE) to 5. */
  readonly level: number;
  readonly value: bigint;
}

/** What an oops says about the fault, as far as its lines were found. */
export interface OopsText {
  /** The highest level first, one for each level. */
  readonly entries: readonly OopsEntry[];
  readonly fiveLevels: boolean;
  readonly registers: Readonly<Partial<Record<OopsRegister, bigint>>>;
  /** Where the access went: CR2, else what the first line says. */
  readonly address: bigint | null;
  readonly errorCode: number | null;
  /** Where the instruction was, as printed; only letters, digits and `_.+/`. */
  readonly rip: string | null;
  /** What stands twice with different values: the first counts. */
  readonly twice: readonly string[];
}

const NAMES: readonly OopsLevel[] = ["PGD", "P4D", "PUD", "PMD", "PTE"];
const HEX = "(?:0x)?([0-9a-f]{1,16})";
/** "PGD 232ede067", "pte:fd20b000"; a word such as "pte be" has no digit and is none. */
const ENTRY = /\b(PGD|P4D|PUD|PMD|PTE)\b\s*[:=]?\s*(?:0x)?(?=[a-f]*\d)([0-9a-f]{1,16})\b/gi;
/** "bad pmd ffff888012345678(8000000012345067)": first where it stands, then the entry. */
const BAD_ENTRY = /\bbad (pgd|p4d|pud|pmd|pte) [0-9a-fx]+\(([0-9a-f]{1,16})\)/gi;
const REGISTER = new RegExp(`\\b(CR0|CR2|CR3|CR4|EFER|PKRU|[ER]FLAGS)\\s*[:=]\\s*${HEX}\\b`, "gi");
const ERROR_CODES = [
  /\bOops:\s*(?:Oops:\s*)?([0-9a-f]{4,8})\b/i,
  new RegExp(`\\berror[_ ]code\\s*[:=(]?\\s*${HEX}`, "i"),
  new RegExp(`\\berror\\s+${HEX}\\b`, "i"),
] as const;
const ADDRESSES = [
  new RegExp(`\\baddress:\\s*${HEX}\\b`, "i"),
  new RegExp(`(?:paging request|dereference|access)\\s+at\\s+${HEX}\\b`, "i"),
  new RegExp(`\\bsegfault at\\s+${HEX}\\b`, "i"),
  new RegExp(`\\baddr:${HEX}\\b`, "i"),
] as const;
const RIP = /\bRIP:?\s+(?:[0-9a-f]{4}:)?(?:\[<[0-9a-f]+>\]\s*)?(?:\[<[0-9a-f]+>\]\s*)?([\w.+/]{1,80})/i;
/** A log has many lines; an oops is near the first entry or error code of it. */
const MOST_MATCHES = 1000;

/** Finds the lines of an oops in a text, in any order. What it does not find stays open; nothing is an error. Throws TypeError for no text. */
export function parseOops(text: string): OopsText {
  if (typeof text !== "string") throw new TypeError(`text ${String(text)}: give a string`);
  const twice = new Set<string>();
  const found = new Map<string, bigint>();
  const keep = (name: string, digits: string): void => {
    const value = BigInt(`0x${digits}`);
    const known = found.get(name);
    if (known === undefined) found.set(name, value);
    else if (known !== value) twice.add(name);
  };
  const plain = text.replace(BAD_ENTRY, (_, name: string, digits: string) => `${name} ${digits} `);
  for (const [, name = "", digits = ""] of most(plain.matchAll(ENTRY))) keep(name.toUpperCase(), digits);
  for (const [, name = "", digits = ""] of most(plain.matchAll(REGISTER))) {
    keep(name.toLowerCase().replace("rflags", "eflags"), digits);
  }
  const registers = Object.fromEntries(
    OOPS_REGISTERS.flatMap((name) => (found.has(name) ? [[name, found.get(name)!]] : [])),
  ) as Partial<Record<OopsRegister, bigint>>;
  const cr4 = registers.cr4;
  const [pgd, p4d] = [found.get("PGD"), found.get("P4D")];
  const fiveLevels =
    cr4 === undefined ? pgd !== undefined && p4d !== undefined && pgd !== p4d : ((cr4 >> 12n) & 1n) === 1n;
  const code = first(plain, ERROR_CODES);
  return {
    entries: entriesOf(found, fiveLevels),
    fiveLevels,
    registers,
    address: registers.cr2 ?? first(plain, ADDRESSES),
    errorCode: code === null || code >= 2n ** 32n ? null : Number(code),
    rip: RIP.exec(plain)?.[1] ?? null,
    twice: [...twice],
  };
}

/** With four levels the kernel prints the top entry as PGD and again as P4D. */
function entriesOf(found: ReadonlyMap<string, bigint>, fiveLevels: boolean): OopsEntry[] {
  const entries: OopsEntry[] = [];
  for (const [at, name] of NAMES.entries()) {
    const value = found.get(name);
    const level = Math.min(NAMES.length - at, fiveLevels ? 5 : 4);
    if (value !== undefined && entries.at(-1)?.level !== level) entries.push({ name, level, value });
  }
  return entries;
}

function first(text: string, patterns: readonly RegExp[]): bigint | null {
  for (const pattern of patterns) {
    const digits = pattern.exec(text)?.[1];
    if (digits !== undefined) return BigInt(`0x${digits}`);
  }
  return null;
}

function* most<T>(items: Iterable<T>): Iterable<T> {
  let count = 0;
  for (const item of items) {
    if (count++ === MOST_MATCHES) return;
    yield item;
  }
}
