import {
  INVALIDATIONS,
  type Invalidation,
  type InvalidationRow,
} from "../../arch/x86/cpu/invalidation-scope.ts";
import { BATCH_RULES } from "../../src/audit/rules/batches.ts";
import { CALL_RULES } from "../../src/audit/rules/calls.ts";
import { DEVICE_RULES } from "../../src/audit/rules/devices.ts";
import { FREED_RULES } from "../../src/audit/rules/freed.ts";
import { GENERIC_RULES } from "../../src/audit/rules/generic.ts";
import { GUEST_RULES } from "../../src/audit/rules/guests.ts";
import { NOTIFIER_RULES } from "../../src/audit/rules/notifier.ts";
import { WRITEBACK_RULES } from "../../src/audit/rules/writeback.ts";
import type { Mutant } from "./mutant.ts";

const AUDIT_TESTS = ["test/src/audit"];
const CPU_TESTS = ["test/arch/x86/cpu", "test/arch/x86/oracle"];

const RULE_FILES = {
  batches: BATCH_RULES,
  calls: CALL_RULES,
  devices: DEVICE_RULES,
  freed: FREED_RULES,
  generic: GENERIC_RULES,
  guests: GUEST_RULES,
  notifier: NOTIFIER_RULES,
  writeback: WRITEBACK_RULES,
};

/** Each row of the table of rules: gone, and with its judgement turned round. */
function ruleMutants(): Mutant[] {
  return Object.entries(RULE_FILES).flatMap(([name, rows]) =>
    rows.flatMap(({ id }) => {
      const common = {
        file: "src/audit/rules/index.ts",
        from: "  ...DEVICE_RULES,\n]",
        stages: [[`test/src/audit/rules/${name}`], AUDIT_TESTS],
      };
      const is = `String(row.id) === "${id}"`;
      return [
        { ...common, name: `rule ${id} removed`, to: `  ...DEVICE_RULES,\n].filter((row) => !(${is}))` },
        {
          ...common,
          name: `rule ${id} inverted`,
          to: `  ...DEVICE_RULES,\n].map((row) => ${is} ? { ...row, broken: (l, s) => !row.broken(l, s) } : row)`,
        },
      ];
    }),
  );
}

/** The values of each column of the invalidation table, from the narrowest scope to the widest. */
const WIDTHS = {
  pcid: [["current", "named"], ["every"]],
  page: [["named"], ["all"]],
  globals: [["keep"], ["own"], ["all"]],
  tables: [["keep"], ["path"], ["all"]],
} as const;

/** Each cell of the invalidation table, one step too wide and one step too narrow. */
function invalidationMutants(): Mutant[] {
  const mutants: Mutant[] = [];
  for (const operation of Object.keys(INVALIDATIONS) as Invalidation[]) {
    for (const vendor of ["intel", "amd"] as const) {
      const row = INVALIDATIONS[operation][vendor];
      if (row !== null) mutants.push(...rowMutants(operation, vendor, row));
    }
  }
  return mutants;
}

function* rowMutants(
  operation: Invalidation,
  vendor: "intel" | "amd",
  row: InvalidationRow,
): Generator<Mutant> {
  for (const column of Object.keys(WIDTHS) as (keyof typeof WIDTHS)[]) {
    const widths: readonly (readonly string[])[] = WIDTHS[column];
    const at = widths.findIndex((values) => values.includes(row[column]));
    for (const [step, what] of [
      [-1, "narrow"],
      [1, "wide"],
    ] as const) {
      const value = widths[at + step]?.[0];
      if (value === undefined) continue;
      // Of every PCID, those filled under it are all.
      if (column === "globals" && value === "own" && row.pcid === "every") continue;
      // Of all pages, the tables that lead to them are all tables.
      if (column === "tables" && value === "path" && row.page === "all") continue;
      yield {
        name: `${operation} on ${vendor}: ${column} too ${what} ("${value}", not "${row[column]}")`,
        file: "arch/x86/cpu/invalidation-scope.ts",
        from: null,
        to: `Object.assign(INVALIDATIONS[${JSON.stringify(operation)}].${vendor}!, { ${column}: "${value}" });`,
        stages: [
          ["test/arch/x86/cpu/invalidation.test.ts"],
          ["test/arch/x86/oracle/upgrade-histories.slow.test.ts"],
          CPU_TESTS,
          AUDIT_TESTS,
        ],
      };
    }
  }
}

/** Faults that once lived through every test. */
export const ONCE_ALIVE: readonly Mutant[] = [
  {
    name: "an older debt with fewer rights takes the blame",
    file: "src/audit/ledger/debts.ts",
    from: " && (leaf.rights & ~older.rights) === 0;",
    to: ";",
    stages: [["test/src/audit/ledger/debts.test.ts"], AUDIT_TESTS],
  },
  {
    name: "a flush of one PCID pays all PCIDs' debts",
    file: "src/audit/ledger/debts.ts",
    from: "      if (scope.pcid !== ALL_PCIDS && scope.pcid !== context.pcid) continue;\n",
    to: "",
    stages: [["test/src/audit/rules/generic-pcids.test.ts"], AUDIT_TESTS],
  },
  {
    name: "sptes judged inside an open range",
    file: "src/audit/rules/guests.ts",
    from: "  if (openRangeAt(spte.guest, spte.hva + (pfn - spte.pfn) * PAGE_SIZE) !== undefined) return;\n",
    to: "",
    stages: [["test/src/audit/rules/guests.test.ts"], AUDIT_TESTS],
  },
  {
    name: "an unaligned range start rounded up",
    file: "src/audit/ledger/ranges.ts",
    from: "from: Math.floor(start",
    to: "from: Math.ceil(start",
    stages: [["test/src/audit/ledger/ranges.test.ts"], AUDIT_TESTS],
  },
  {
    name: "scheduler weights ignored",
    file: "src/sim/scheduler.ts",
    from: "const { weight = 1, daemon = false } = options;",
    to: "const { daemon = false } = options;\n    const weight = 1;",
    stages: [["test/src/sim"]],
  },
];

export const MUTANTS: readonly Mutant[] = [...ONCE_ALIVE, ...ruleMutants(), ...invalidationMutants()];
