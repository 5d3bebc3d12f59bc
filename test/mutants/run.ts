/**
 * Puts small faults into the rules, the ledger, the invalidation table and the scheduler, one at a time, and says which
 * test caught each: `npm run test:mutants`, or with words that a mutant's name must hold. Ends with status 1 when fewer
 * than 95 of 100 are caught, or one that once lived through every test lives again.
 */
import { relative, resolve } from "node:path";
import { createVitest, type Reporter, type TestModule } from "vitest/node";
import { type Mutant, mutate } from "./mutant.ts";
import { MUTANTS, ONCE_ALIVE } from "./mutants.ts";

const LEAST_CAUGHT = 0.95;
const ROOT = resolve(import.meta.dirname, "../..");

let current: Mutant | null = null;
/** What failed first in the run at hand. */
let failure: string | null = null;

function nameOf(module: TestModule, test: string): string {
  return `${relative(ROOT, module.moduleId)}${test === "" ? "" : ` > ${test}`}`;
}

const listener: Reporter = {
  onTestCaseResult(test) {
    if (test.result().state === "failed") failure ??= nameOf(test.module, test.fullName);
  },
  onTestModuleEnd(module) {
    // A file that does not even load has no test that fails.
    if (module.errors().length > 0) failure ??= nameOf(module, "");
  },
};

const vitest = await createVitest(
  "test",
  {
    root: ROOT,
    config: false,
    watch: false,
    pool: "threads",
    maxWorkers: 2,
    bail: 1,
    reporters: [listener],
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
  {
    plugins: [
      {
        name: "mutant",
        enforce: "pre",
        transform: (source, id) =>
          current !== null && id === resolve(ROOT, current.file) ? mutate(source, current) : undefined,
      },
    ],
  },
);
await vitest.standalone();

/** The first test of these files that fails, null when all pass. */
async function failureIn(files: readonly string[], seen: Set<string>): Promise<string | null> {
  const all = await vitest.getRelevantTestSpecifications([...files]);
  const specs = all.filter(({ moduleId }) => !seen.has(moduleId));
  for (const { moduleId } of specs) seen.add(moduleId);
  failure = null;
  if (specs.length > 0) await vitest.runTestSpecifications(specs);
  return failure;
}

/** Runs a mutant's tests until one fails. */
async function catcherOf(mutant: Mutant): Promise<string | null> {
  current = mutant;
  const file = resolve(ROOT, mutant.file);
  vitest.invalidateFile(file);
  const seen = new Set<string>();
  let found: string | null = null;
  for (const stage of mutant.stages) found ??= await failureIn(stage, seen);
  current = null;
  vitest.invalidateFile(file);
  return found;
}

const wanted = MUTANTS.filter(({ name }) => process.argv.slice(2).every((word) => name.includes(word)));
const files = [...new Set(wanted.flatMap(({ stages }) => stages[0] ?? []))];
const broken = await failureIn(files, new Set());
if (broken !== null) throw new Error(`${broken} fails without a mutant`);

const alive: Mutant[] = [];
for (const mutant of wanted) {
  const catcher = await catcherOf(mutant);
  if (catcher === null) alive.push(mutant);
  process.stdout.write(
    `${catcher === null ? "ALIVE " : "caught"} ${mutant.name}${catcher === null ? "" : `: ${catcher}`}\n`,
  );
}
await vitest.close();
const caught = wanted.length - alive.length;
process.stdout.write(`${caught} of ${wanted.length} mutants caught\n`);
process.exit(
  caught < LEAST_CAUGHT * wanted.length || alive.some((each) => ONCE_ALIVE.includes(each)) ? 1 : 0,
);
