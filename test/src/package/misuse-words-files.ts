import { join } from "node:path";
import * as conform from "../../../src/package/conform.ts";
import * as files from "../../../src/package/files.ts";
import * as linux from "../../../src/package/linux.ts";
import { buildMiniGuest, GuestDirectory } from "../formats/mini-guest.ts";
import { type Word, word } from "./misuse-words.ts";

/* The words of calls that read files: of a small guest in a scratch directory. */

let scratch: GuestDirectory | null = null;

function directory(): GuestDirectory {
  if (scratch !== null) return scratch;
  scratch = new GuestDirectory();
  const guest = buildMiniGuest();
  scratch.writeGuest(guest);
  scratch.write("core.elf", guest.core);
  const cases = [...conform.caseFileLines([conform.factCase(conform.ACCESS_FACTS[0]!)])];
  scratch.write("cases.jsonl", Buffer.from(`${cases.join("\n")}\n`));
  const sink = files.createRecordFile(join(scratch.path, "records"));
  const machine = new linux.Machine({ memory: "1MiB" });
  sink.write(new Uint8Array(1));
  sink.close();
  void machine;
  return scratch;
}

/** Removes what the words wrote. */
export function removeFiles(): void {
  scratch?.remove();
  scratch = null;
}

const at = (name: string) => join(directory().path, name);
/** The guest, with free frames for tables of the kernel that runs on it. */
function guest() {
  const read = files.readGuestDirectory(directory().path);
  read.kpageflags.fill(1 << 10, 0xe0);
  return read;
}
const core = () => files.readElfCore(at("core.elf"));
const settings = () => ({
  protocols: ["c"],
  listeners: [],
  cpus: 2,
  tlb: "stale" as const,
  seed: 1,
  shuffle: false,
  snapshot: "mini",
});
const truth = {
  kpagecount: { frames: 0, equal: 0 },
  pagemap: { words: 0, equal: 0 },
  rmap: { pages: 0, equal: 0 },
  mismatches: [],
};

/** The words, by name. */
export const FILE_WORDS: Readonly<Record<string, Word>> = {
  guestDirectory: word(() => directory().path),
  coreFile: word(() => at("core.elf")),
  caseFile: word(() => at("cases.jsonl")),
  recordFile: word(() => at("records")),
  newFile: word(() => at("new")),
  snapshot: word(guest),
  core: word(core),
  guestMemory: word(() => files.loadGuest(guest())),
  budget: word(() => new files.ReadBudget()),
  imageFormat: word(() => "elf"),
  imported: word(() => files.importGuest(guest())),
  truth: word(() => truth),
  settings: word(settings),
  auditReport: word(() => files.auditGuest(guest(), settings())),
  frameAsked: word(() => 1),
  protocols: word(() => ["c", "d"]),
  diff: word(() => files.diffProtocols(guest(), settings(), ["c", "d"])),
  roots: word(() => files.guestRoots(guest())),
  guestRoot: word(() => files.guestRoots(guest())[0], { unaligned: 8 }),
  image: word(() => files.openImageFile(at("core.elf")).image),
  limit: word(() => 1000, { legal: { "2^53": "any limit will do" } }),
  pieces: word(() => []),
};
