/**
 * What must be undone to come back to a mark, newest last, so that going back takes as long as what was done. Nothing is
 * kept, and nothing costs more than a look at {@link active}, until the first mark.
 */
export class Journal {
  active = false;
  #undo: (() => void)[] = [];

  /** From now on changes are noted; what was noted before is forgotten. */
  mark(): void {
    this.active = true;
    this.#undo = [];
  }

  /** Sets a map's value, or with undefined takes it out, so that it can be undone. */
  put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
    if (this.active) {
      const before = map.get(key);
      this.#undo.push(() => setOrDelete(map, key, before));
    }
    setOrDelete(map, key, value);
  }

  /** A field is about to be assigned to: notes its value, so that this can be undone. */
  keep<T, K extends keyof T>(object: T, field: K): void {
    if (!this.active) return;
    const before = object[field];
    this.#undo.push(() => {
      object[field] = before;
    });
  }

  /** Notes how to undo a change; only while {@link active}. */
  note(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Undoes everything since the mark, which stays. */
  rewind(): void {
    const undo = this.#undo;
    this.active = false;
    for (let i = undo.length - 1; i >= 0; i--) undo[i]!();
    this.#undo = [];
    this.active = true;
  }
}

function setOrDelete<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
