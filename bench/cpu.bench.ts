import { Linear } from "../arch/x86/cpu/address.ts";
import { Entry } from "../arch/x86/cpu/entry.ts";
import { Machine } from "../arch/x86/cpu/machine.ts";
import { Kernel } from "../src/mm/kernel.ts";
import { ensurePteSlot } from "../src/mm/page-table.ts";
import { suite } from "./suite.ts";

const PAGES = 65_536;
const HOT_PAGES = 64;
const BASE = Linear.of(0x7f00_0000_0000);
const SEED = 12_345;

/** A user CPU whose page tables map `PAGES` 4K pages, and the addresses of the first `count` in xorshift32 order. */
function userCpu(tlb: "stale" | "none", count: number) {
  const machine = new Machine({ memory: "512MiB", cpus: 1, tlb });
  const kernel = new Kernel(machine);
  const mm = kernel.createMm();
  const addresses = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const pfn = kernel.frames.allocate();
    const address = (BASE + i * 4096) as Linear;
    addresses[i] = address;
    kernel.plantEntry(ensurePteSlot(mm, address), new Entry((pfn << 12) | 0x67, pfn >>> 20));
  }
  let state = SEED;
  for (let i = count - 1; i > 0; i--) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    const held = addresses[i]!;
    addresses[i] = addresses[j]!;
    addresses[j] = held;
  }
  const cpu = machine.cpu(0);
  cpu.loadCr3(mm.pgd);
  cpu.cpl = 3;
  return { cpu, addresses };
}

/** One load of 8 bytes by a user program: with no TLB a full checked walk each, with one a hit each. */
export default async function cpuBench(): Promise<void> {
  const cold = userCpu("none", PAGES);
  const hot = userCpu("stale", HOT_PAGES);
  await suite("a user load", [
    {
      name: `walk, no TLB, ${PAGES} pages at random`,
      operations: PAGES,
      run() {
        for (const address of cold.addresses) cold.cpu.touch(address, false);
      },
    },
    {
      name: `TLB hit, ${HOT_PAGES} pages`,
      operations: PAGES,
      run() {
        for (let i = 0; i < PAGES / HOT_PAGES; i++) {
          for (const address of hot.addresses) hot.cpu.touch(address, false);
        }
      },
    },
  ]);
}
