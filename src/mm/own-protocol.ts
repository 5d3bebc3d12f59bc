import type { Linear } from "../../arch/x86/cpu/address.ts";
import type { KernelThread, Step } from "../../arch/x86/mm/step.ts";
import type { ChangeBranch, NotifierProtocol, Told } from "./mm_types.ts";

const METHODS = ["replaced", "cleared", "end"] as const;
const MAX_NAME = 40;

/** What went wrong inside somebody's own notifier protocol. */
export class ProtocolError extends Error {
  constructor(protocol: string, what: string) {
    super(`notifier protocol ${protocol}: ${what}`);
    this.name = "ProtocolError";
  }
}

/**
 * A protocol that somebody else wrote, made safe to run: `begin` may return a plain object or a generator that returns
 * one, of which any method may be missing, and a method may be a plain function. What it throws, or yields that is no
 * step, is a ProtocolError. Throws TypeError if the value is no protocol at all; `name` is used where it has none.
 */
export function ownProtocol(value: unknown, name: string): NotifierProtocol {
  if (
    typeof value !== "object" ||
    value === null ||
    !("begin" in value) ||
    typeof value.begin !== "function"
  ) {
    throw new TypeError(
      `${name} is no notifier protocol: give an object with a function begin(mm, start, end, page)`,
    );
  }
  const own = value as Partial<NotifierProtocol> & Pick<NotifierProtocol, "begin">;
  const protocol = printable(own.name, name);
  return {
    name: protocol,
    kernels: printable(own.kernels, "a protocol of your own"),
    *begin(mm, start, end, page) {
      const told = yield* guarded(protocol, "begin", () => own.begin(mm, start, end, page));
      if (typeof told !== "object" || told === null) {
        throw new ProtocolError(protocol, "begin returned no object: give one with replaced, cleared, end");
      }
      for (const method of METHODS) {
        const found: unknown = (told as unknown as Record<string, unknown>)[method];
        if (found !== undefined && typeof found !== "function") {
          throw new ProtocolError(protocol, `${method} is no function`);
        }
      }
      return new Guarded(protocol, told as Partial<Told>);
    },
  };
}

/** The object of one call, with every method in place. */
class Guarded implements Told {
  readonly #protocol: string;
  readonly #told: Partial<Told>;

  constructor(protocol: string, told: Partial<Told>) {
    this.#protocol = protocol;
    this.#told = told;
  }

  replaced(address: Linear, bytes: number, branch: ChangeBranch): KernelThread<void> {
    return guarded(this.#protocol, "replaced", () => this.#told.replaced?.(address, bytes, branch));
  }

  cleared(address: Linear, bytes: number, branch: ChangeBranch): KernelThread<void> {
    return guarded(this.#protocol, "cleared", () => this.#told.cleared?.(address, bytes, branch));
  }

  end(): KernelThread<void> {
    return guarded(this.#protocol, "end", () => this.#told.end?.());
  }
}

/** Runs what a method returns, if that is a thread; else it is the result. */
function* guarded<T>(protocol: string, method: string, call: () => KernelThread<T> | T): KernelThread<T> {
  try {
    const result = call();
    return isThread(result) ? yield* checkedSteps(protocol, method, result) : result;
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw new ProtocolError(
      protocol,
      `${method} threw ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function isThread<T>(value: KernelThread<T> | T): value is KernelThread<T> {
  return typeof value === "object" && value !== null && Symbol.iterator in value && "next" in value;
}

function* checkedSteps<T>(protocol: string, method: string, thread: KernelThread<T>): KernelThread<T> {
  let ended = false;
  try {
    for (;;) {
      const { done, value } = thread.next();
      if (done) {
        ended = true;
        return value;
      }
      if (typeof (value as Step | undefined)?.kind !== "string") {
        throw new ProtocolError(protocol, `${method} yielded no step: yield step(kind, object), or nothing`);
      }
      yield value;
    }
  } finally {
    if (!ended) thread.return(undefined as T);
  }
}

/** A short text without control characters, or something else instead. */
function printable(value: unknown, otherwise: string): string {
  return typeof value === "string" && /^[\x20-\x7e]+$/.test(value) ? value.slice(0, MAX_NAME) : otherwise;
}
