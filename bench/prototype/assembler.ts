/** Code of a WebAssembly function: the bytes of its instructions. What leaves a value on the stack is an expression. */
export type Code = readonly number[];

const I32 = 0x7f;
const I64 = 0x7e;
const EMPTY_BLOCK = 0x40;

/** Types of values. */
export const TYPES = { i32: I32, i64: I64 } as const;
export type ValueType = keyof typeof TYPES;

/** Instructions without an operand in the code, by what the WebAssembly text format calls them. */
const OPCODES = {
  "i32.eqz": 0x45,
  "i32.eq": 0x46,
  "i32.lt_u": 0x49,
  "i32.add": 0x6a,
  "i32.mul": 0x6c,
  "i32.and": 0x71,
  "i32.or": 0x72,
  "i32.xor": 0x73,
  "i32.shl": 0x74,
  "i32.shr_u": 0x76,
  "i64.eq": 0x51,
  "i64.ne": 0x52,
  "i64.ge_u": 0x5a,
  "i64.and": 0x83,
  "i64.or": 0x84,
  "i64.xor": 0x85,
  "i64.shl": 0x86,
  "i64.shr_s": 0x87,
  "i64.shr_u": 0x88,
  "i32.wrap": 0xa7,
  "i64.extend_u": 0xad,
} as const;
const LOADS = { "i32.load8_u": 0x2d, "i32.load": 0x28, "i64.load": 0x29 } as const;
const STORES = { "i32.store": 0x36, "i64.store": 0x37 } as const;

/** An instruction on the values of the expressions. */
export function op(name: keyof typeof OPCODES, ...operands: readonly Code[]): Code {
  return [...operands.flat(), OPCODES[name]];
}

export function i32(value: number): Code {
  return [0x41, ...signed(BigInt(value | 0))];
}

export function i64(value: bigint): Code {
  return [0x42, ...signed(BigInt.asIntN(64, value))];
}

/** Reads memory at an address (an i32), and so many bytes behind it. */
export function load(name: keyof typeof LOADS, address: Code, offset = 0): Code {
  return [...address, LOADS[name], 0, ...unsigned(offset)];
}

export function store(name: keyof typeof STORES, address: Code, value: Code, offset = 0): Code {
  return [...address, ...value, STORES[name], 0, ...unsigned(offset)];
}

export function when(condition: Code, then: Code, otherwise: Code = []): Code {
  const other = otherwise.length === 0 ? [] : [0x05, ...otherwise];
  return [...condition, 0x04, EMPTY_BLOCK, ...then, ...other, 0x0b];
}

export function giveBack(value: Code): Code {
  return [...value, 0x0f];
}

/** A function in the making: parameters first, then the locals that its code asks for. */
export class FunctionCode {
  readonly #names: string[] = [];
  readonly #types: ValueType[] = [];
  readonly #code: number[] = [];
  readonly parameters: number;

  constructor(parameters: readonly string[]) {
    for (const name of parameters) this.local(name, "i32");
    this.parameters = parameters.length;
  }

  local(name: string, type: ValueType): void {
    this.#names.push(name);
    this.#types.push(type);
  }

  get(name: string): Code {
    return [0x20, ...unsigned(this.#at(name))];
  }

  set(name: string, value: Code): Code {
    return [...value, 0x21, ...unsigned(this.#at(name))];
  }

  add(...codes: readonly Code[]): void {
    for (const code of codes) this.#code.push(...code);
  }

  body(): number[] {
    const locals = this.#types.slice(this.parameters).map((type) => [1, TYPES[type]]);
    return sized([...vector(locals), ...this.#code, 0x0b]);
  }

  #at(name: string): number {
    const at = this.#names.indexOf(name);
    if (at < 0) throw new RangeError(`no local ${name}`);
    return at;
  }
}

/** A module of functions from i32 to one i32, on a memory that it is given as `host.memory`. */
export function moduleOf(
  functions: Readonly<Record<string, FunctionCode>>,
  pages: number,
): Uint8Array<ArrayBuffer> {
  const list = Object.entries(functions);
  const types = list.map(([, { parameters }]) => [
    0x60,
    ...vector(new Array(parameters).fill([I32])),
    ...vector([[I32]]),
  ]);
  const memory = [...text("host"), ...text("memory"), 0x02, 0x01, ...unsigned(pages), ...unsigned(pages)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...[1, ...sized(vector(types))],
    ...[2, ...sized(vector([memory]))],
    ...[3, ...sized(vector(list.map((_, at) => unsigned(at))))],
    ...[7, ...sized(vector(list.map(([name], at) => [...text(name), 0x00, ...unsigned(at)])))],
    ...[10, ...sized(vector(list.map(([, code]) => code.body())))],
  ]);
}

function text(value: string): number[] {
  return sized([...new TextEncoder().encode(value)]);
}

function vector(items: readonly (readonly number[])[]): number[] {
  return [...unsigned(items.length), ...items.flat()];
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  for (; rest > 0x7f; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return [...bytes, rest];
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest < -64n || rest > 63n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return [...bytes, Number(rest & 0x7fn)];
}
