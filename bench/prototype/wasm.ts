import { ACCESS_READ, MODE_USER } from "../../arch/x86/cpu/access-rights.ts";
import type { Benchmark } from "../benchmark.ts";
import { MISS_PAGES } from "../tlb-miss.ts";
import { MEMORY, ORDER_STRIDE, userPages } from "../user-pages.ts";
import { WALK_PAGES } from "../walk.ts";
import { BLOCK, EVERYONE, mmuModule, OWNER_SHIFT } from "./mmu-module.ts";

/** The part of WebAssembly that is used here: it is no part of the language's own types. */
declare const WebAssembly: {
  Memory: new (size: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (module: object, imports: object) => { exports: Exports };
};

type Access = (kind: number, mode: number, lo: number, hi: number) => number;

interface Exports {
  readonly walk: Access;
  readonly miss: Access;
}

const PAGE = 2 ** 16;
const READ = ACCESS_READ;
const USER = MODE_USER;

/** The pages in the memory of a module, the module, and its block set up with what the CPU's registers ask for. */
function wasmPages(count: number) {
  const pages = MEMORY / PAGE + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const { machine, order } = userPages(count, "none", memory.buffer);
  const module = new WebAssembly.Module(mmuModule(MEMORY, pages));
  const { exports } = new WebAssembly.Instance(module, { host: { memory } });
  const { control } = machine.cpu(0);
  const block = new DataView(memory.buffer, MEMORY);
  const put = (field: keyof typeof BLOCK, value: bigint): void =>
    block.setBigUint64(BLOCK[field], BigInt.asUintN(64, value), true);
  put("root", BigInt(control.root));
  put("size", BigInt(MEMORY));
  put("reserved", BigInt(control.reservedHi) << 32n);
  put("reservedTop", BigInt(control.reservedTop));
  put("reserved2m", BigInt(control.reserved2m));
  put("owner", BigInt(control.pcid + 1) << OWNER_SHIFT);
  put("everyone", EVERYONE << OWNER_SHIFT);
  new Uint8Array(memory.buffer, MEMORY + BLOCK.permissions).set(control.permissions);
  return { machine, order, exports };
}

/** A walk for each call from JavaScript. */
export const wasmWalkBenchmark: Benchmark = {
  name: "wasm-walk",
  group: "prototype",
  operation: "the walk in WebAssembly, one call each",
  reference: "walk",
  insteadOf: "walk",
  prepare() {
    const { machine, order, exports } = wasmPages(WALK_PAGES);
    const { words } = machine.memory;
    const entry = (MEMORY + BLOCK.entry) / 4;
    return {
      operations: WALK_PAGES,
      run() {
        let sum = 0;
        for (let i = 0; i < order.length; i += ORDER_STRIDE) {
          if (exports.walk(READ, USER, order[i]!, order[i + 1]!) < 0) throw new RangeError("declined");
          sum = (sum + words[entry]!) | 0;
        }
        return sum;
      },
    };
  },
};

/** A miss for each call from JavaScript, and the load by it. */
export const wasmMissBenchmark: Benchmark = {
  name: "wasm-miss",
  group: "prototype",
  operation: "the miss path in WebAssembly, one call each",
  reference: "tlb-miss",
  insteadOf: "tlb-miss",
  prepare() {
    const { machine, order, exports } = wasmPages(MISS_PAGES);
    const { memory } = machine;
    return {
      operations: MISS_PAGES,
      run() {
        let sum = 0;
        for (let i = 0; i < order.length; i += ORDER_STRIDE) {
          const physical = exports.miss(READ, USER, order[i]!, order[i + 1]!);
          if (physical < 0) throw new RangeError("declined");
          sum = (sum + memory.readLo(physical) + memory.readHi(physical)) | 0;
        }
        return sum;
      },
    };
  },
};
