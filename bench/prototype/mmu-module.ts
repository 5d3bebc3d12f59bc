import {
  ACCESS_WRITE,
  RIGHT_KEY_SHIFT,
  RIGHT_U,
  RIGHT_W,
  RIGHT_XD,
} from "../../arch/x86/cpu/access-rights.ts";
import { PTE_A, PTE_D, PTE_G, PTE_P, PTE_PS } from "../../arch/x86/cpu/entry-layout.ts";
import { type Code, FunctionCode, giveBack, i32, i64, load, moduleOf, op, store, when } from "./assembler.ts";

/** What the functions return where the TypeScript has to decide. */
export const DECLINED = -1;

/** Offsets in the block of words that stands behind the emulated memory. */
export const BLOCK = {
  root: 0,
  /** Bytes of the emulated memory. */
  size: 8,
  /** Reserved bits of a table's entry at the top, of any entry, of a 2-MiB leaf. */
  reservedTop: 16,
  reserved: 24,
  reserved2m: 32,
  /** The owner of this PCID's entries, and that of everyone's, as they stand in keys. */
  owner: 40,
  everyone: 48,
  time: 56,
  /** What a walk found. */
  entry: 64,
  level: 72,
  rights: 76,
  permissions: 128,
  sets: 1024,
} as const;

/** A set of the TLB: the keys of its ways, their frames, flags and last uses. */
export const WAYS = 8;
export const SETS = 256;
const FRAMES = 8 * WAYS;
const FLAGS = 16 * WAYS;
const USES = 20 * WAYS;
export const SET_BYTES = 24 * WAYS;

const FRAME = 0x000f_ffff_ffff_f000n;
const LEVEL_SHIFT = 36n;
/** From here on a key has its owner: the PCID and 1, or EVERYONE. */
export const OWNER_SHIFT = 40n;
export const EVERYONE = 4097n;

/** The walk and the miss path, for a memory of so many pages of 64 KiB with the block at an address. */
export function mmuModule(block: number, pages: number): Uint8Array<ArrayBuffer> {
  return moduleOf({ walk: walkFunction(block), miss: missFunction(block) }, pages);
}

function word(name: "i32.load" | "i64.load", block: number, field: keyof typeof BLOCK): Code {
  return load(name, i32(block), BLOCK[field]);
}

function walkFunction(block: number): FunctionCode {
  const code = new FunctionCode(["kind", "mode", "lo", "hi"]);
  addWalk(code, block);
  code.add(
    store("i64.store", i32(block), code.get("entry"), BLOCK.entry),
    store("i32.store", i32(block), code.get("level"), BLOCK.level),
    store("i32.store", i32(block), code.get("rights"), BLOCK.rights),
    i32(0),
  );
  return code;
}

/** The common walk, as common-walk.ts has it, with entries of 64 bits; what it finds stays in locals. */
function addWalk(code: FunctionCode, block: number): void {
  for (const name of ["linear", "e4", "e3", "e2", "entry", "above", "any", "at", "size", "reserved"])
    code.local(name, "i64");
  code.local("level", "i32");
  code.local("rights", "i32");
  const get = (name: string): Code => code.get(name);
  const set = (name: string, value: Code): Code => code.set(name, value);
  const decline = giveBack(i32(DECLINED));
  const bits = (value: number): Code => i64(BigInt(value));
  const wrong = (entry: string, mask: Code): Code =>
    op("i64.ne", op("i64.and", get(entry), mask), bits(PTE_P));
  const step = (entry: string, table: Code, shift: number): Code => [
    ...set("at", op("i64.or", op("i64.and", table, i64(FRAME)), indexOf(get("linear"), shift))),
    ...when(op("i64.ge_u", get("at"), get("size")), decline),
    ...set(entry, load("i64.load", op("i32.wrap", get("at")))),
  ];
  const plain = op("i64.or", get("reserved"), bits(PTE_P | PTE_PS));
  code.add(
    set(
      "linear",
      op("i64.or", op("i64.shl", op("i64.extend_u", get("hi")), i64(32n)), op("i64.extend_u", get("lo"))),
    ),
    when(
      op("i64.ne", op("i64.shr_s", op("i64.shl", get("linear"), i64(16n)), i64(16n)), get("linear")),
      decline,
    ),
    set("size", word("i64.load", block, "size")),
    set("reserved", word("i64.load", block, "reserved")),
    step("e4", word("i64.load", block, "root"), 39),
    when(wrong("e4", op("i64.or", plain, word("i64.load", block, "reservedTop"))), decline),
    step("e3", get("e4"), 30),
    when(wrong("e3", plain), decline),
    step("e2", get("e3"), 21),
    when(wrong("e2", op("i64.or", get("reserved"), bits(PTE_P))), decline),
    set("above", op("i64.and", get("e4"), get("e3"))),
    set("any", op("i64.or", get("e4"), get("e3"))),
    when(
      op("i32.wrap", op("i64.and", get("e2"), bits(PTE_PS))),
      [
        ...when(
          op("i64.ne", op("i64.and", get("e2"), word("i64.load", block, "reserved2m")), i64(0n)),
          decline,
        ),
        ...set("entry", get("e2")),
        ...set("level", i32(2)),
      ],
      [
        ...set("above", op("i64.and", get("above"), get("e2"))),
        ...set("any", op("i64.or", get("any"), get("e2"))),
        ...step("entry", get("e2"), 12),
        ...when(wrong("entry", op("i64.or", get("reserved"), bits(PTE_P))), decline),
        ...set("level", i32(1)),
      ],
    ),
    set("rights", rightsOf(get("above"), op("i64.or", get("any"), get("entry")), get("entry"))),
    when(permission(block, get("rights"), get("kind"), get("mode")), decline),
    when(op("i64.ne", op("i64.and", op("i64.xor", get("above"), i64(-1n)), bits(PTE_A)), i64(0n)), decline),
    when(missing(get("entry"), get("kind")), decline),
  );
}

/** Eight times the index into a table. */
function indexOf(linear: Code, shift: number): Code {
  return op("i64.and", op("i64.shr_u", linear, i64(BigInt(shift - 3))), i64(0xff8n));
}

/** Raw rights, as rightsOf in walk-rights.ts. */
function rightsOf(above: Code, any: Code, entry: Code): Code {
  const low = (value: Code): Code => op("i32.wrap", value);
  const granted = op("i32.and", low(op("i64.and", above, entry)), i32(RIGHT_W | RIGHT_U));
  const xd = op("i32.and", low(op("i64.shr_u", any, i64(60n))), i32(RIGHT_XD));
  const readOnly = op("i64.xor", entry, i64(-1n));
  const dirty = op("i64.shr_u", entry, i64(5n));
  const shadow = op("i64.and", op("i64.and", above, readOnly), op("i64.and", dirty, i64(BigInt(RIGHT_W))));
  const key = op("i32.and", low(op("i64.shr_u", entry, i64(59n))), i32(0xf));
  return op(
    "i32.or",
    op("i32.or", granted, xd),
    op("i32.or", op("i32.shl", low(shadow), i32(3)), op("i32.shl", key, i32(RIGHT_KEY_SHIFT))),
  );
}

/** The entry of the permission table for an access, whose index is that of access-rights.ts. */
function permission(block: number, rights: Code, kind: Code, mode: Code): Code {
  const page = op("i32.and", op("i32.shr_u", rights, i32(1)), i32(0xf));
  const access = op("i32.or", op("i32.shl", mode, i32(7)), op("i32.shl", kind, i32(4)));
  return load("i32.load8_u", op("i32.or", access, page), block + BLOCK.permissions);
}

/** A, and D for a write, that the leaf has not. */
function missing(entry: Code, kind: Code): Code {
  const write = op("i32.shl", op("i32.and", kind, i32(ACCESS_WRITE)), i32(Math.log2(PTE_D)));
  return op("i32.and", op("i32.xor", op("i32.wrap", entry), i32(-1)), op("i32.or", write, i32(PTE_A)));
}

/** A lookup that misses, the walk, the fill; the physical address. Declined where the TLB holds the page, and for G. */
function missFunction(block: number): FunctionCode {
  const code = new FunctionCode(["kind", "mode", "lo", "hi"]);
  addWalk(code, block);
  code.local("set", "i32");
  code.local("chosen", "i32");
  code.local("oldest", "i32");
  code.local("own", "i64");
  code.local("all", "i64");
  const get = (name: string): Code => code.get(name);
  const use = (way: number): Code => load("i32.load", get("set"), USES + 4 * way);
  const setNumber = op("i32.and", op("i32.shr_u", get("lo"), i32(12)), i32(SETS - 1));
  const offset = op("i64.xor", op("i64.shl", i64(-1n), op("i64.extend_u", bitsOf(get("level")))), i64(-1n));
  code.add(
    code.set("set", op("i32.add", op("i32.mul", setNumber, i32(SET_BYTES)), i32(block + BLOCK.sets))),
    code.set("own", keyOf(get("linear"), i64(1n), word("i64.load", block, "owner"))),
    code.set("all", keyOf(get("linear"), i64(1n), word("i64.load", block, "everyone"))),
    when(op("i32.and", op("i32.wrap", get("entry")), i32(PTE_G)), giveBack(i32(DECLINED))),
  );
  for (let way = 0; way < WAYS; way++) {
    const held = load("i64.load", get("set"), 8 * way);
    const same = op("i32.or", op("i64.eq", held, get("own")), op("i64.eq", held, get("all")));
    code.add(when(same, giveBack(i32(DECLINED))));
  }
  code.add(code.set("oldest", use(0)), code.set("chosen", i32(0)));
  for (let way = 1; way < WAYS; way++) {
    const older = op("i32.lt_u", use(way), get("oldest"));
    code.add(when(older, [...code.set("oldest", use(way)), ...code.set("chosen", i32(way))]));
  }
  const at = (scale: number): Code => op("i32.add", get("set"), op("i32.shl", get("chosen"), i32(scale)));
  const time = op("i32.add", word("i32.load", block, "time"), i32(1));
  const frame = op("i64.and", op("i64.and", get("entry"), i64(FRAME)), op("i64.xor", offset, i64(-1n)));
  const dirty = op("i32.and", op("i32.wrap", get("entry")), i32(PTE_D));
  code.add(
    store("i32.store", i32(block), time, BLOCK.time),
    store(
      "i64.store",
      at(3),
      keyOf(get("linear"), op("i64.extend_u", get("level")), word("i64.load", block, "owner")),
    ),
    store("i64.store", at(3), frame, FRAMES),
    store("i32.store", at(2), op("i32.or", get("rights"), dirty), FLAGS),
    store("i32.store", at(2), word("i32.load", block, "time"), USES),
    op("i32.wrap", op("i64.or", frame, op("i64.and", get("linear"), offset))),
  );
  return code;
}

/** Bits of the offset in a page of a level. */
function bitsOf(level: Code): Code {
  return op("i32.add", op("i32.mul", level, i32(9)), i32(3));
}

/** Page number, level above it, owner above that. */
function keyOf(linear: Code, level: Code, owner: Code): Code {
  const number = op("i64.shr_u", op("i64.and", linear, i64(0xffff_ffff_f000n)), i64(12n));
  return op("i64.or", op("i64.or", number, op("i64.shl", level, i64(LEVEL_SHIFT))), owner);
}
