import { NONE } from "../../../arch/x86/cpu/address.ts";
import type { TraceRecordOf } from "../../trace/record.ts";
import type { Journal } from "./journal.ts";

/** A root table that some CPU has loaded, or that an address space has. */
export interface Root {
  /** Physical address. */
  readonly physical: number;
  /** The address space that it belongs to; null: nobody said so. */
  space: Space | null;
}

/** An address space that the system told of. */
export interface Space {
  readonly id: number;
  /** Physical addresses; with page-table isolation the second one is loaded in user mode, else NONE. */
  readonly root: number;
  readonly userRoot: number;
  /** mm_cpumask, as words. */
  cpus: readonly number[];
}

/** The address spaces that live, and names for things, where hints gave some. */
export class Spaces {
  readonly #byId = new Map<number, Space>();
  readonly #byRoot = new Map<number, Space>();
  readonly #names = new Map<string, string>();
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  created({ space: id, root, userRoot }: TraceRecordOf<"address-space-created">): Space {
    const space = { id, root, userRoot, cpus: [] };
    this.#journal.put(this.#byId, id, space);
    this.#journal.put(this.#byRoot, root, space);
    if (userRoot !== NONE) this.#journal.put(this.#byRoot, userRoot, space);
    return space;
  }

  /** Forgets an address space; returns it as it was, if it was known. */
  ended(id: number): Space | undefined {
    const space = this.#byId.get(id);
    if (space === undefined) return undefined;
    this.#journal.put(this.#byId, id, undefined);
    this.#journal.put(this.#byRoot, space.root, undefined);
    this.#journal.put(this.#byRoot, space.userRoot, undefined);
    return space;
  }

  get(id: number): Space | undefined {
    return this.#byId.get(id);
  }

  /** The address space with that root, or null. */
  ofRoot(physical: number): Space | null {
    return this.#byRoot.get(physical) ?? null;
  }

  /** A root is an address space's. */
  claim(root: Root, space: Space | null): void {
    this.#journal.keep(root, "space");
    root.space = space;
  }

  /** mm_cpumask is another. */
  cpusChanged(id: number, cpus: readonly number[]): void {
    const space = this.#byId.get(id);
    if (space === undefined) return;
    this.#journal.keep(space, "cpus");
    space.cpus = cpus;
  }

  named({ subject, id, name }: TraceRecordOf<"named">): void {
    this.#names.set(`${subject} ${id}`, name);
  }

  /** What to call an agent, an address space or a listener. */
  nameOf(subject: "agent" | "space" | "listener", id: number): string {
    return this.#names.get(`${subject} ${id}`) ?? `${subject} ${id}`;
  }
}
