import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  buildCore,
  buildMiniGuest,
  buildTables,
  buildTar,
  MINI_ROOTS,
  type MiniGuest,
  text,
} from "../src/formats/mini-guest.ts";
import type { Xorshift } from "../support/mutate.ts";
import { damaged, scrambled } from "./damage.ts";
import { hostileText } from "./hostile.ts";

const KPF_BUDDY = 10n;
/** Frames that nothing of the guest's stands in. */
const FREE_FROM = 0x40;

const GUEST = withFreeFrames(buildMiniGuest());
const FILES = ["pt.elf.gz", "proc.tar.gz", "manifest.json"] as const;

/** The small guest with frames in which the audit can have tables of its own. */
function withFreeFrames(guest: MiniGuest): MiniGuest {
  const words = BigUint64Array.from({ length: 256 }, (_, pfn) =>
    pfn < FREE_FROM ? 0x868n : 1n << KPF_BUDDY,
  );
  return {
    ...guest,
    members: new Map(guest.members).set("pre/SYS.kpageflags", new Uint8Array(words.buffer)),
  };
}

/** Writes a guest directory in which something may be wrong. */
export function writeAnyGuest(directory: string, random: Xorshift): void {
  const bytes = {
    "pt.elf.gz": anyCore(random),
    "proc.tar.gz": anyArchive(random),
    "manifest.json": anyManifest(random),
  };
  const lost = random.below(60) === 0 ? random.pick(FILES) : null;
  for (const name of FILES) if (name !== lost) writeFileSync(join(directory, name), bytes[name]);
}

function seldom(bytes: Uint8Array, random: Xorshift): Uint8Array {
  return random.below(5) === 0 ? damaged(bytes, random) : bytes;
}

function anyCore(random: Xorshift): Uint8Array {
  if (random.below(2) === 0) return seldom(gzipSync(seldom(GUEST.core, random), { level: 1 }), random);
  const segments = Object.values(MINI_ROOTS).map((physical) => ({
    physical,
    bytes: scrambled(buildTables(physical), physical, random),
  }));
  return seldom(buildCore(segments, null), random);
}

function anyArchive(random: Xorshift): Uint8Array {
  const members = new Map(GUEST.members);
  const name = random.pick([...members.keys()]);
  members.set(name, seldom(members.get(name)!, random));
  return seldom(gzipSync(seldom(buildTar(members), random), { level: 1 }), random);
}

function anyManifest(random: Xorshift): Uint8Array {
  if (random.below(4) > 0) return seldom(GUEST.manifest, random);
  const manifest = JSON.parse(Buffer.from(GUEST.manifest).toString()) as Record<string, unknown>;
  const field = random.pick(Object.keys(manifest));
  manifest[random.below(8) === 0 ? hostileText(random) : field] = random.pick<unknown>([
    null,
    0,
    -1,
    2 ** 33,
    1e300,
    true,
    [],
    {},
    "31..0",
    "4.13.9",
    "6.12.1",
    "9.9",
    hostileText(random),
    { [hostileText(random)]: { pid: 1, cr3: "0x10000" } },
  ]);
  return text(JSON.stringify(manifest));
}
