import { type ConformCase, groupOf } from "./case.ts";
import type { CaseGroup } from "./pack.ts";

/** The case of an id, or null where the groups have none. */
export function caseById(groups: readonly CaseGroup[], id: string): ConformCase | null {
  const group = groups.find(({ name }) => name === groupOf(id));
  if (group === undefined) return null;
  // Cases of matrices are numbered.
  const number = /^\d+$/.test(id.slice(group.name.length + 1)) ? Number(id.slice(group.name.length + 1)) : -1;
  if (group.sampled) {
    const found = number >= 0 && number < group.size ? group.at(number) : null;
    return found?.id === id ? found : null;
  }
  for (let index = 0; index < group.size; index++) {
    const found = group.at(index);
    if (found.id === id) return found;
  }
  return null;
}
