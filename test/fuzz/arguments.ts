import { CPU_MODELS } from "../../arch/x86/cpu/cpu-model.ts";
import { TLB_POLICIES } from "../../arch/x86/cpu/tlb.ts";
import { PTE_LAYOUTS } from "../../arch/x86/mm/pte-format.ts";
import type { Command } from "../../src/cli/command.ts";
import { LINUX_LEVELS } from "../../src/inspect/decode-report.ts";
import { PAGE_TESTS } from "../../src/inspect/page-filter.ts";
import type { Xorshift } from "../support/mutate.ts";
import { anyWord, hostileText } from "./hostile.ts";

const hexWord = (random: Xorshift): string => anyWord(random).toString(16);
const from =
  (...words: readonly string[]) =>
  (random: Xorshift): string =>
    random.pick(words);
const TESTS = Object.keys(PAGE_TESTS);

/** Values that an option can have; any other option is given a number, or a hostile text. */
const VALUES: Readonly<Record<string, (random: Xorshift) => string>> = {
  cr0: from("80050033", "80010033", "33", "0"),
  cr3: from("10000", "20000", "0x10000", "11000", "10fff", "2000000000010000", "f000"),
  cr4: from("6e0", "a0", "10a0", "4000a0", "3306e0"),
  efer: from("d01", "501", "0"),
  process: from("one", "two", "one.k", "big"),
  range: (random) => `${hexWord(random)}-${hexWord(random)}`,
  filter: (random) => [random.pick(TESTS), `!${random.pick(TESTS)}`].join(random.pick([",", "|", ""])),
  levels: from("4", "5", "3"),
  vcpu: from("0", "1", "65535", "65536"),
  as: from("table", "qemu-tlb", "qemu-mem", "pt", "bochs", "crash", "entry", "pagemap", "ept", "windows"),
  format: from("auto", "elf", "kdump", "lime", "raw"),
  map: from("0-1000@0", "10000-14000@0", "0-8000000000@0", "10000-14000@fffffffffffff000"),
  sort: from("linear", "physical"),
  // With "all" a listing is complete, and tables that point at each other make 2^36 lines: see BOUNDED.
  lines: from("1", "10", "1000", "0"),
  cpu: (random) => random.pick(Object.keys(CPU_MODELS)),
  maxphyaddr: from("36", "46", "52", "53"),
  pat: from("0007040600070406", "0407050600070106", "2"),
  cbit: from("47", "51", "31"),
  "shared-bit": from("47", "51", "52"),
  kernel: (random) => random.pick([...Object.keys(PTE_LAYOUTS), "all"]),
  level: (random) => random.pick([...LINUX_LEVELS]),
  listeners: from("kvm", "iommu", "kvm,iommu", "none", "iommu-range", "kvm,"),
  protocol: from("a0", "a1", "c", "b", "d", "e1", "all"),
  diff: from("b,c", "a0,e1", "b", "b,b,b"),
  cpus: from("2", "4", "1", "2000"),
  tlb: (random) => random.pick(TLB_POLICIES),
  frames: from("80-81", "0-ff", "5-1", "0-ffffffffffffffff"),
  page: from("80", "0", "ffffffff"),
  "fail-on": from("1", "G1,2", "99"),
  findings: from("findings.jsonl", "no/such/folder", "/dev/full", "/dev/null", "."),
  write: from("-", "cases.jsonl", "no/such/folder", "/dev/full", "/dev/null", "."),
  groups: from("tricky", "tricky", "fact", "m9"),
  sample: from("1", "20", "0"),
  timeout: from("1"),
  "start-timeout": from("1"),
  "max-time": from("1", "5", "0"),
  only: from("tricky/1", "fact/29,m1/001931", "m9/1", "x"),
  form: from("jsonl", "xml"),
  require: from("1%", "80", "101%"),
};

/** All lines of a part of the address space. */
export const BOUNDED = ["--lines", "all", "--range", "0-10000000"] as const;

/** Options whose values are run by a shell or imported: only what the lists above have. */
const FIXED = new Set(["against", "protocol", "diff", "findings", "write", "timeout", "oops", "from"]);
/** Options that only {@link anyOptions}'s caller gives, because they need a file. */
const GIVEN = new Set(["against", "oops", "from", "judge", "expect-failures"]);

/** Some of a command's options with values that suit or do not. */
export function anyOptions(command: Command, random: Xorshift, most = 4): string[] {
  const names = Object.keys(command.options).filter((name) => !GIVEN.has(name));
  const args: string[] = [];
  // Many options seldom go together: most command lines have few.
  for (let count = random.below(2) * random.below(most + 1); count > 0; count--) {
    const name = random.pick(names);
    args.push(`--${name}`);
    if (command.options[name]!.value !== undefined) args.push(valueFor(name, random));
  }
  return args;
}

function valueFor(name: string, random: Xorshift): string {
  const suits = VALUES[name];
  if (suits !== undefined && (FIXED.has(name) || random.below(12) > 0)) return suits(random);
  return random.below(3) === 0 ? hostileText(random) : hexWord(random);
}

/** Words that stand where none is expected, or where any may. */
export function anyArguments(random: Xorshift): string[] {
  const words = Array.from({ length: random.below(4) }, () =>
    random.below(2) === 0 ? hostileText(random) : hexWord(random),
  );
  return words.map((word) => (random.below(4) === 0 ? `--${word}` : word));
}
