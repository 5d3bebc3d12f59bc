import * as cpu from "../../../src/package/cpu.ts";
import * as linux from "../../../src/package/linux.ts";

/*
 * The arguments of known-good calls, by the words that known-good-calls.ts writes them with. A word makes its argument
 * in a fresh small system, and says which of the bad values it may have all the same, and why.
 */

/** A small system: a process with an anonymous page, a file's and a huge one, and a free CPU beside it. */
export class System {
  readonly machine = new cpu.Machine({ memory: "6MiB", cpus: 2, model: "intel-sapphire-rapids" });
  readonly kernel: linux.Kernel;
  readonly mm: linux.mm_struct;
  readonly vma: linux.vm_area_struct;
  readonly at = cpu.Linear.of(0x7f00_0020_0000);
  readonly page: cpu.Pfn;

  constructor() {
    this.kernel = new linux.Kernel(this.machine, { swapSlots: 64 });
    this.mm = this.kernel.createMm("lab");
    this.vma = linux.mmap(this.mm, { at: this.at, length: 0x60_0000, prot: "rw" });
    this.page = linux.mapAnonymous(this.kernel, this.vma, this.at);
  }

  get slot(): cpu.Slot {
    return linux.pteSlot(this.mm, this.at);
  }

  get lockedPage(): cpu.Pfn {
    linux.trylock_page(this.kernel, this.page);
    return this.page;
  }

  fileAt = cpu.Linear.of(0x7e00_0000_0000);
  #file: linux.address_space | null = null;
  #fileVma: linux.vm_area_struct | null = null;
  #filePage: cpu.Pfn | null = null;

  get file(): linux.address_space {
    this.#file ??= new linux.address_space("data");
    return this.#file;
  }

  get fileVma(): linux.vm_area_struct {
    const { file, fileAt: at } = this;
    this.#fileVma ??= linux.mmap(this.mm, { at, length: 0x1000, prot: "rw", shared: true, file });
    return this.#fileVma;
  }

  /** A locked page of the file, mapped and dirty. */
  get filePage(): cpu.Pfn {
    if (this.#filePage !== null) return this.#filePage;
    const { kernel: k, fileAt, fileVma, mm } = this;
    const page = linux.alloc_page(k);
    linux.setFileMapping(k, page, this.file);
    linux.page_add_file_rmap(k, page, false);
    linux.inc_mm_counter(mm, linux.MM_FILEPAGES);
    const entry = linux.pte_mkwrite(linux.pte_mkdirty(k.format.mk_pte(page, fileVma.vm_page_prot)));
    linux.set_pte_at(mm, fileAt, linux.ensurePteSlot(mm, fileAt), entry);
    linux.trylock_page(k, page);
    this.#filePage = page;
    return page;
  }

  /** The anonymous page, taken off the LRU list and locked. */
  get isolatedPage(): cpu.Pfn {
    linux.isolate_lru_page(this.kernel, this.page);
    return this.page;
  }

  readonly hugeAt = cpu.Linear.of(0x7f00_0040_0000);
  #hugePage: cpu.Pfn | null = null;

  /** A locked huge page, mapped by a pmd. */
  get hugePage(): cpu.Pfn {
    if (this.#hugePage !== null) return this.#hugePage;
    const { kernel: k, mm, hugeAt, vma } = this;
    const page = linux.alloc_pages(k, 9);
    linux.prep_compound_page(k, page, 9);
    linux.page_add_new_anon_rmap(k, page, vma, hugeAt, true);
    linux.add_mm_counter(mm, linux.MM_ANONPAGES, 512);
    const slot = linux.ensurePmdSlot(mm, hugeAt);
    linux.pgtable_trans_huge_deposit(mm, slot, linux.alloc_page(k));
    linux.set_pmd_at(mm, hugeAt, slot, k.format.mk_huge_pmd(page, vma.vm_page_prot));
    linux.trylock_page(k, page);
    this.#hugePage = page;
    return page;
  }

  get hugeSlot(): cpu.Slot {
    this.hugePage;
    return linux.pmdSlot(this.mm, this.hugeAt);
  }

  readonly gigaAt = cpu.Linear.of(0x7d00_0000_0000);

  /** The slot of a pud that maps 1 GiB. */
  get gigaSlot(): cpu.Slot {
    linux.ensurePmdSlot(this.mm, this.gigaAt);
    const slot = linux.pudSlot(this.mm, this.gigaAt);
    this.kernel.plantEntry(slot, new cpu.Entry(0xe7, 0));
    return slot;
  }

  /** A page in the swap cache, locked. */
  get swappedPage(): cpu.Pfn {
    linux.add_to_swap(this.kernel, this.lockedPage);
    return this.page;
  }

  get swapEntry(): linux.swp_entry_t {
    const entry = this.kernel.mem_map.page_private(this.swappedPage);
    linux.swap_duplicate(this.kernel, entry);
    return entry;
  }

  readonly listener: linux.mmu_notifier = { name: "device", ops: {}, sleeps: new Set() };
}

/** The bad values of every argument; the two others are made of the good one. */
export const BAD = { undefined: undefined, NaN: Number.NaN, "-1": -1, "1.5": 1.5, "2^53": 2 ** 53 } as const;
export type BadName = keyof typeof BAD | "another kernel's" | "unaligned";

/** Why an argument may have a value that others may not. */
export type Legal = Readonly<Partial<Record<BadName, string>>>;

export interface Word {
  readonly make: (system: System) => unknown;
  /** It belongs to a kernel, and so must the others of the call. */
  readonly owned: boolean;
  /** The distance to a value that is not aligned, for what must be. */
  readonly unaligned: number | null;
  readonly legal: Legal;
}

export function word(make: (system: System) => unknown, more: Partial<Word> = {}): Word {
  return { owned: false, unaligned: null, legal: {}, ...more, make };
}

const owned = (make: (system: System) => unknown): Word => word(make, { owned: true });
const whole = (value: number, legal: Legal = {}): Word => word(() => value, { legal });

const PAGE_2_53 = { "2^53": "the address of a page, exact as a Number" };
const BITS_32: Legal = { "-1": "the 32 bits all set, as words are kept" };
const ANY_NUMBER: Legal = { "-1": "any whole number will do" };

const page = (make: (system: System) => number): Word => word(make, {});
const place = (make: (system: System) => number): Word => word(make, { unaligned: 4 });
const linear = (make: (system: System) => number): Word => word(make, { unaligned: 1, legal: PAGE_2_53 });
const byte = (make: (system: System) => number): Word =>
  word(make, {
    unaligned: 1,
    legal: { ...PAGE_2_53, unaligned: "any byte of a page stands for it, as in the kernel" },
  });

/** The words, by name. */
export const WORDS: Readonly<Record<string, Word>> = {
  /* the kernel's */
  k: owned(({ kernel }) => kernel),
  mm: owned(({ mm }) => mm),
  vma: owned(({ vma }) => vma),
  fileVma: owned(({ fileVma }) => fileVma),
  emptyMm: owned(({ kernel }) => kernel.createMm("empty")),
  freshVma: owned(({ mm }) => linux.mmap(mm, { at: 0x1000_0000, length: 0x1000, prot: "rw" })),
  childVma: owned(({ kernel, at }) =>
    linux.mmap(kernel.createMm("child"), { at, length: 0x60_0000, prot: "rw" }),
  ),
  memMap: owned(({ kernel }) => kernel.mem_map),
  task: owned(({ kernel }) => kernel.current),
  busyTask: owned(({ kernel, page, mm }) => linux.enter(kernel.current, "try_to_unmap", page, mm)),
  walk: owned(({ kernel, page, vma, at }) => new linux.PageVmaMappedWalk(kernel, page, vma, at)),
  page: page((s) => s.page),
  pfn: page((s) => s.page),
  lockedPage: page((s) => s.lockedPage),
  filePage: page((s) => s.filePage),
  isolatedPage: page((s) => s.isolatedPage),
  isolatedLockedPage: page((s) => {
    linux.isolate_lru_page(s.kernel, s.page);
    return s.lockedPage;
  }),
  hugePage: page((s) => s.hugePage),
  swappedPage: page((s) => s.swappedPage),
  freshPage: page(({ kernel }) => linux.alloc_page(kernel)),
  freshLockedPage: page(({ kernel }) => {
    const fresh = linux.alloc_page(kernel);
    linux.trylock_page(kernel, fresh);
    return fresh;
  }),
  spentPage: page(({ kernel }) => {
    const fresh = linux.alloc_page(kernel);
    linux.page_ref_freeze(kernel, fresh, 1);
    return fresh;
  }),
  head: page(({ kernel }) => linux.alloc_pages(kernel, 9)),
  hugetlbPage: page(({ kernel }) => {
    const head = linux.alloc_pages(kernel, 9);
    linux.prep_compound_page(kernel, head, 9, true);
    linux.trylock_page(kernel, head);
    return head;
  }),
  hugeZeroPage: page(({ kernel }) => linux.get_huge_zero_page(kernel)),
  pages: word((s) => [s.isolatedPage]),
  table: page((s) => linux.tableOf(s.slot)),
  lockedTable: page((s) => {
    linux.tryLockTable(s.kernel, linux.tableOf(s.slot), "pte");
    return linux.tableOf(s.slot);
  }),
  pageOrNone: word((s) => s.page, { legal: { "-1": "NO_PFN: the call is for no page" } }),
  slot: place((s) => s.slot),
  pmdSlot: place((s) => linux.pmdSlot(s.mm, s.at)),
  emptyPmdSlot: place((s) => linux.ensurePmdSlot(s.mm, cpu.Linear.of(0x7f00_0060_0000))),
  hugeSlot: place((s) => s.hugeSlot),
  gigaSlot: place((s) => s.gigaSlot),
  at: linear((s) => s.at),
  fileAt: linear((s) => s.fileAt),
  nextAt: word((s) => s.at + 4096, { unaligned: 1 }),
  hugeAt: linear((s) => s.hugeAt),
  emptyHugeAt: linear(() => 0x7f00_0060_0000),
  gigaAt: linear((s) => s.gigaAt),
  byte: byte((s) => s.at),
  hugeByte: byte((s) => s.hugeAt),
  start: word((s) => s.at, {
    unaligned: 1,
    legal: { ...PAGE_2_53, unaligned: "the auditor judges ranges that are not whole pages" },
  }),
  end: word((s) => s.at + 4096, {
    unaligned: 1,
    legal: { ...PAGE_2_53, unaligned: "the auditor judges ranges that are not whole pages" },
  }),
  entry: word((s) => linux.readEntry(s.mm, s.slot)),
  hugeEntry: word((s) => linux.readEntry(s.mm, s.hugeSlot)),
  swapEntry: word((s) => s.swapEntry),
  sem: word(() => new linux.rw_semaphore()),
  readSem: word(({ kernel }) => {
    const sem = new linux.rw_semaphore();
    linux.down_read_trylock(kernel, sem);
    return sem;
  }),
  writtenSem: word(({ kernel }) => {
    const sem = new linux.rw_semaphore();
    kernel.run(linux.down_write(kernel, sem));
    return sem;
  }),
  anon: word(({ vma }) => vma.anon_vma),
  freshAnon: word(() => new linux.anon_vma()),
  file: word((s) => s.file),
  listener: word((s) => s.listener),
  registered: word((s) => {
    linux.mmu_notifier_register(s.listener, s.mm);
    return s.listener;
  }),
  cpuNumber: whole(1),
  lazyCpu: word(({ kernel }) => {
    linux.enter_lazy_tlb(kernel, 1);
    return 1;
  }),
  mask: word(() => [3]),
  batch: word(() => ({ cpumask: [3] })),
  mapping: word((s) => linux.mappingEntry(s.mm, s.at)),
  cleaned: word(() => ({ entries: 0 })),
  rmapWalk: word(() => ({
    arg: null,
    rmap_one: () => linux.finished(true),
    done: null,
    anon_lock: null,
    invalid_vma: null,
  })),
  mmapOptions: word(() => ({ at: 0x2000_0000, length: 0x1000, prot: "rw" })),
  thread: word((s) => linux.lock_page(s.kernel, s.page)),
  dice: word(() => new linux.Random(1)),
  order: whole(0),
  order9: whole(9),
  counter: whole(1),
  amount: whole(1, { "-1": "a counter goes down, too" }),
  flags: whole(0),
  result: word(() => true, {
    legal: {
      undefined: "ABANDONED: the call came to nothing",
      "-1": "a result may be any number",
      "1.5": "a result may be any number",
      "2^53": "a result may be any number",
    },
  }),
  protocol: word(() => ({ *begin() {} })),
  hugeSize: whole(2 ** 21),

  /* the processor's */
  cpu: word(({ machine }) => machine.cpu(0)),
  machine: word(({ machine }) => machine),
  cpl: whole(0),
  flag: word(() => false),
  access: whole(0),
  mode: whole(0),
  level: whole(1),
  levels: whole(4),
  pcid: whole(0),
  descriptor: whole(0),
  word: whole(0x1067, BITS_32),
  bits: whole(0),
  walkEnd: whole(1),
  maxPhyAddr: whole(46),
  msr: whole(cpu.MSR_PAT),
  value: word(() => 0n),
  cr0: word(() => 0x8001_0011n),
  cr4: word(() => 0x20n),
  pat: word(() => 0x0007_0406_0007_0406n),
  model: word(() => cpu.cpuModel("intel-skylake-sp")),
  layout: word(({ machine }) => machine.cpu(0).control.layout),
  control: word(({ machine }) => machine.cpu(0).control),
  memory: word(({ machine }) => machine.memory),
  address: word((s) => s.at, { legal: PAGE_2_53 }),
  anyPage: word((s) => s.at, { legal: PAGE_2_53 }),
  physical: word((s) => s.page * 4096),
  caches: word(({ machine }) => cpu.saveCaches(machine.cpu(0))),
  registerValues: word(() => ({ cr0: 0x8005_0033n, cr3: 0x1000n, cr4: 0x20n, efer: 0xd01n })),
  tlbPolicy: word(() => "stale"),
  options: word(() => ({})),
  entryKind: word(() => "pte"),
  field: word(() => ({ name: "P", bits: [0, 0], meaning: "present", use: {}, section: "4.5" })),
  fieldUse: word(() => "used"),
  vendor: word(() => "intel"),
  scope: word(() => ({ pcid: 0, page: null, globals: "keep", tables: "all" })),
  invalidated: word(() => ({
    kind: "invalidated",
    pcid: 0,
    all: true,
    linearLo: 0,
    linearHi: 0,
    globals: "keep",
    tables: "all",
  })),
  invalidation: word(() => "INVLPG"),
  memoryType: word(() => "WB"),
  mtrrs: word(() => new cpu.Mtrrs()),
  found: word(({ machine }) => {
    const found = new cpu.WalkResult();
    const { memory } = machine;
    cpu.walk(memory, machine.cpu(0).control, 0, 0, 0, 0, { ...cpu.INSPECT }, found);
    return found;
  }),
  walkOptions: word(() => cpu.INSPECT),
  handlers: word(() => ({})),
  register: word(() => "CR0"),
  outcomes: word(() => [{ pa: 0 }]),
  outcome: word(() => ({ physical: 0 })),
  name: word(() => "pte_clear"),
  functionName: word(() => "try_to_unmap"),
  text: word(() => "text"),
  count: whole(1),
  number: whole(1, ANY_NUMBER),
  seed: whole(1, ANY_NUMBER),
  modelName: word(() => "amd-zen3"),
  kernelName: word(() => "linux-4.13"),
  protocolName: word(() => "c"),
  lockLevel: word(() => "pte"),
  stepKind: word(() => "lock"),
  swapType: whole(1),
  swapOffset: whole(1),
  anyValue: word(() => null, {
    legal: Object.fromEntries([...Object.keys(BAD)].map((bad) => [bad, "a thread may return anything"])),
  }),
  size: word(() => "4KiB"),
  size4K: whole(4096),
  page4K: word(() => 4096, { unaligned: 8 }),
  end52: word(() => 2 ** 52, { unaligned: -8 }),
  cpuId: whole(1),
  hidden: whole(0, BITS_32),
  machineOptions: word(() => ({ memory: "4KiB" })),
  fault: word(() => ({ kind: "#GP" })),
  ranges: word(() => []),
  pageAtHand: word(() => () => 0),
  loneMemMap: word(({ kernel }) => kernel.mem_map),
  loneMm: word(({ mm }) => mm),
  memslots: word(() => []),
  pteLayout: word(() => linux.pteLayout("linux-4.13")),
  swapTypes: word(() => linux.pteLayout("linux-4.13").swapTypes),
  vmaOptions: word(() => ({ start: 0x3000_0000, end: 0x3000_1000, flags: 0, pgoff: 0 })),
  freshRoot: word(
    ({ kernel, machine }) => {
      const root = kernel.frames.allocate() * 4096;
      machine.memory.clear(root, 4096);
      return root;
    },
    { unaligned: 8 },
  ),
  freshAnon0: word(() => null),
  exactByte: word((s) => s.at),
  storedValue: whole(1),
  change1: word(() => (old: bigint) => old),
  accessSize: whole(8),
  lineFlush: word(() => "CLFLUSH"),
  cacheFlush: word(() => "WBINVD"),
  word4: word((s) => s.slot, { unaligned: 1 }),
  physical8: word((s) => s.page * 4096),
  length8: whole(8),
  command: word(() => "node -e 0"),
  timeout: whole(1000),
};

/**
 * What is right although it looks bad, by function: "word value", with why; "arguments" where none is looked at, "call"
 * where the good one is not made here.
 */
export const ACCEPTED: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Entry: { arguments: "words are taken modulo 2^32, for every entry is made here; Entry.fromBigInt checks" },
  checkRoot: { "guestRoot unaligned": "the root of a file: a FormatError names the file and the root" },
  start: { call: "programs are run in test/src/conform" },
  FormatError: { arguments: "an error says what it is given" },
  Misfit: { arguments: "an error says what it is given" },
  ProtocolError: { arguments: "an error says what it is given" },
  CommandSubject: { arguments: "its constructor is private: see its method start", call: "the same" },
  AliasIndex: { arguments: "its constructor is private: see its method of", call: "the same" },
};

/** For words that are optional: "word?". */
export const DEFAULT: Legal = { undefined: "it has a default" };
