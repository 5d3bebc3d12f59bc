import { Auditor } from "../../../src/package/audit.ts";
import { CommandSubject } from "../../../src/package/files.ts";
import { AliasIndex } from "../../../src/package/inspect.ts";
import { FrameAllocator, Kvm, Memslots, Random, SwapSpace } from "../../../src/package/linux.ts";
import type { System } from "./misuse-words.ts";

/** Methods with known-good arguments, and whose they are. */
export interface Methods {
  readonly make: (system: System) => unknown;
  readonly calls: Readonly<Record<string, string>>;
}

/** The same as known-good-calls.ts of the methods that people call, by class. */
export const KNOWN_GOOD_METHODS: Readonly<Record<string, Methods>> = {
  Machine: {
    make: ({ machine }) => machine,
    calls: {
      cpu: "cpuNumber",
      storeEntry: "slot word word cpuNumber|null",
      exchangeEntry: "slot word word cpuNumber|null",
      compareExchangeEntry: "slot entry entry cpuNumber|null",
      sendIpi: "cpuNumber cpuNumber visit",
    },
  },
  Cpu: {
    make: ({ machine }) => machine.cpu(0),
    calls: {
      load: "exactByte accessSize?",
      fetch: "exactByte accessSize?",
      store: "exactByte storedValue accessSize?",
      readModifyWrite: "exactByte change1 accessSize?",
      loadImplicit: "exactByte accessSize?",
      storeImplicit: "exactByte storedValue accessSize?",
      flushLine: "lineFlush exactByte",
      flushCaches: "cacheFlush",
      loadCr3: "root pcid? flag?",
      movCr2: "value",
      movCr3: "value",
      setControl: "options",
      setPat: "pat",
      invlpg: "anyPage",
    },
  },
  PhysicalMemory: {
    make: ({ machine }) => machine.memory,
    calls: {
      fetch: "slot",
      readLo: "word4",
      readHi: "word4",
      bytesAt: "physical8 length8",
      tableAt: "root",
      clear: "physical8 length8",
      readByte: "physical",
      writeByte: "physical word",
      read: "slot",
      write: "slot word word",
      exchange: "slot word word",
      compareExchange: "slot word word word word",
    },
  },
  RecordStream: { make: ({ machine }) => machine.records, calls: { listen: "visit visit?|null" } },
  Kernel: {
    make: ({ kernel }) => kernel,
    calls: {
      createTask: "name cpuNumber",
      createMm: "name? freshRoot?",
      adoptMm: "name root",
      forgetMm: "mm",
      run: "thread",
      attach: "visit visit?|null",
      plantEntry: "slot entry",
    },
  },
  mm_struct: { make: ({ mm }) => mm, calls: { insertVma: "vmaOptions freshAnon0?|null" } },
  MemMap: {
    make: ({ kernel }) => kernel.mem_map,
    calls: Object.fromEntries([
      ...[
        ...["compound_head", "PageCompound", "PageTransCompound", "PageHuge", "isThpHead", "hpage_nr_pages"],
        ...["PageLocked", "SetPageLocked", "ClearPageLocked", "PageDirty", "PageLRU", "PageWriteback"],
        ...[
          "PageSwapBacked",
          "PageSwapCache",
          "PageMlocked",
          "PageDoubleMap",
          "PageHWPoison",
          "SetPageHWPoison",
        ],
        ...["mappingOf", "mappingKind", "PageAnon", "PageKsm", "hasRmapping", "page_private", "clearPrivate"],
        ...["page_count", "page_mapped", "page_mapcount", "total_mapcount", "page_to_pgoff"],
      ].map((name) => [name, "page"]),
      ["prep_compound_page", "head order9 flag"],
    ]),
  },
  FrameAllocator: {
    make: ({ kernel }) => new FrameAllocator(kernel.mem_map),
    calls: { reserve: "page", isFree: "page", release: "page", allocateOrder: "order" },
  },
  SwapSpace: {
    make: () => {
      const swap = new SwapSpace(64);
      swap.takeSlots(1);
      return swap;
    },
    calls: { takeSlots: "count", references: "count", addReference: "count", dropReference: "count" },
  },
  Random: { make: () => new Random(1), calls: { below: "count", oneIn: "count", shuffle: "pages" } },
  Memslots: { make: () => new Memslots([]), calls: { set: "memslots" } },
  Auditor: { make: ({ machine }) => new Auditor(machine), calls: { pageFreed: "pfn", tableFreed: "pfn" } },
  Kvm: { make: ({ mm }) => new Kvm(mm), calls: {} },
  CommandSubject: { make: () => CommandSubject, calls: { start: "command timeout" } },
  AliasIndex: { make: () => AliasIndex, calls: { of: "leaves" } },
};
