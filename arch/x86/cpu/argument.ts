/** The kernel that an argument belongs to: all arguments of one call must have the same. */
export type Owner = object;

/**
 * What an argument must be, as data: the checks of an interface are lists of these. `accepts` is the test; the rest says
 * to whoever failed it what was wrong.
 */
export interface Argument<T> {
  /** What the value is, as messages call it. */
  readonly noun: string;
  /** What to give, after "give"; some depend on whose argument it is. */
  readonly words: string | ((owner: Owner | null) => string);
  /** Types (typeof) of right values: one of another type is a TypeError, else it is a RangeError. */
  readonly types: readonly string[];
  readonly accepts: (value: unknown, owner: Owner | null) => boolean;
  /** For a value with parts: what is wrong with one of them, or null. */
  readonly blame?: (value: unknown, owner: Owner | null) => Error | null;
  /** Whom a right value belongs to, or null. */
  ownerOf?(value: T): Owner | null;
  /** Never there: it ties a kind to the type that it checks for. */
  readonly type?: T;
}

/** Kinds for the parameters of a function, one each. */
export type Arguments<P extends readonly unknown[]> = {
  readonly [I in keyof Required<P>]: Argument<P[I] | undefined>;
};

/** Most characters of a value that a message repeats. */
const MOST = 80;

/** A value as messages name it. */
export function printed(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > MOST ? `${value.slice(0, MOST)}...` : value);
  }
  if (typeof value === "function") return `function ${value.name}`.trimEnd();
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  const made = (value as { constructor?: { name?: unknown } }).constructor?.name;
  const { name } = value as { name?: unknown };
  const type = typeof made === "string" && made !== "" ? made : "object";
  return typeof name === "string" ? `${type} ${printed(name)}` : `an object of type ${type}`;
}

/** What to give. */
export function wordsOf({ words }: Argument<unknown>, owner: Owner | null): string {
  return typeof words === "string" ? words : words(owner);
}

/** The error that a value is none of a kind: TypeError for one of another type, else RangeError. */
export function misuse(
  kind: Argument<unknown>,
  value: unknown,
  owner: Owner | null = null,
  where = "",
): Error {
  const inner = kind.blame?.(value, owner) ?? null;
  const text = inner?.message ?? `${kind.noun} ${printed(value)}: give ${wordsOf(kind, owner)}`;
  const message = where === "" ? text : `${where}: ${text}`;
  const isRange =
    inner === null ? value !== null && kind.types.includes(typeof value) : inner instanceof RangeError;
  return isRange ? new RangeError(message) : new TypeError(message);
}

/** Throws TypeError or RangeError, naming the value, unless it is of the kind; returns it. */
export function need<T>(kind: Argument<T>, value: unknown, owner: Owner | null = null): T {
  if (!kind.accepts(value, owner)) throw misuse(kind, value, owner);
  return value as T;
}

/** Throws TypeError or RangeError, naming the value, unless all arguments are of their kinds and of one owner. */
export function needAll(
  where: string,
  kinds: readonly Argument<unknown>[],
  values: readonly unknown[],
): void {
  let owner: Owner | null = null;
  for (let i = 0; i < kinds.length; i++) {
    const kind = kinds[i]!;
    const value = values[i];
    if (!kind.accepts(value, owner)) throw misuse(kind, value, owner, where);
    const other = kind.ownerOf?.(value) ?? null;
    if (owner !== null && other !== null && other !== owner) {
      throw new TypeError(
        `${where}: ${kind.noun} ${printed(value)}: it is another kernel's, give one of the same`,
      );
    }
    owner ??= other;
  }
}

/**
 * A function that first checks its arguments and then is the given one. Code whose arguments are known to be right calls
 * that one itself.
 */
/* @__NO_SIDE_EFFECTS__ */
export function checked<F extends (...args: never[]) => unknown>(
  inner: F,
  ...kinds: Arguments<Parameters<F>>
): F {
  const { name } = inner;
  const list = kinds as readonly Argument<unknown>[];
  const call = inner as unknown as (...args: unknown[]) => unknown;
  const outer = (...args: unknown[]): unknown => {
    needAll(name, list, args);
    return call(...args);
  };
  return Object.defineProperty(outer, "name", { value: name }) as unknown as F;
}
