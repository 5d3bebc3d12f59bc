import { FormatError } from "../formats/format-error.ts";
import { readGuestMaps } from "../formats/guest-snapshot.ts";
import type { MapsVma } from "../formats/proc-maps.ts";
import type { Image } from "./image.ts";
import type { Terminal } from "./output.ts";
import type { AddressSpace } from "./space.ts";

/**
 * The mappings of the process whose tables these are, where a guest directory has a record of them; else null. A record
 * that cannot be read costs one line: the tables say what is mapped without it.
 */
export function vmasOf(image: Image, space: AddressSpace, terminal: Terminal): readonly MapsVma[] | null {
  const { directory, manifest } = image;
  if (directory === null || manifest === null) return null;
  const process = manifest.processes.find(
    ({ root, userRoot }) => root === space.root || userRoot === space.root,
  );
  if (process === undefined) return null;
  try {
    return readGuestMaps(directory, process.name, manifest.levels);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    terminal.warn(`ptescope dump: no names of mappings: ${error.message}`);
    return null;
  }
}
