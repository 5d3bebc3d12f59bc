import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The guest that ships with the package. */
const SAMPLE = fileURLToPath(new URL("../samples/guest-a1", import.meta.url));

/** What stands for it wherever a snapshot is asked for. */
export const SAMPLE_NAME = "sample";

/** Where a snapshot is that a person names: a file or directory of that name comes first. */
export function snapshotPath(name: string): string {
  return name === SAMPLE_NAME && !existsSync(name) ? SAMPLE : name;
}
