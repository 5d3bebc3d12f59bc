import { caseFileLines } from "../../src/conform/case-json.ts";
import { GROUPS, selectCases } from "../../src/conform/pack.ts";
import type { Xorshift } from "../support/mutate.ts";
import { damaged } from "./damage.ts";
import { anyWord, hostileText } from "./hostile.ts";

let lines: readonly string[] | null = null;

/** A case file with some cases, one of its lines or all of it damaged. */
export function anyCaseFile(random: Xorshift): Uint8Array {
  lines ??= [...caseFileLines(selectCases({ groups: GROUPS, sample: 20, seed: 1 }))];
  const chosen = Array.from({ length: 1 + random.below(4) }, () =>
    titled(random.pick(lines!.slice(1)), random),
  );
  const bytes = Buffer.from(`${[lines[0]!, ...chosen].join("\n")}\n`);
  return random.below(3) === 0 ? bytes : damaged(bytes, random);
}

/** The case with a title, or another value where it says what is right: then the report tells of it. */
function titled(line: string, random: Xorshift): string {
  const value = JSON.parse(line) as { title?: string; expect: { after: unknown[] } };
  if (random.below(2) === 0) value.title = hostileText(random);
  if (random.below(2) === 0) value.expect.after[0] = [`0x${anyWord(random).toString(16)}`];
  return JSON.stringify(value);
}

const GREETING = '{"format":"ptescope-conform","version":1,"name":NAME}';

/** Shell commands that an adapter might be: garbage, too much, too little, an end, silence. */
export function anyAdapter(random: Xorshift): string {
  const name = JSON.stringify(hostileText(random));
  const greeting = GREETING.replace("NAME", random.pick([name, '"x"', "7"]));
  const answer = random.pick([
    '{"id":"tricky/1","results":[]}',
    '{"id":"tricky/1","unsupported":"x"}',
    `{"id":${name},"results":[{},{},{},{}]}`,
    "[]",
    hostileText(random),
    "{}",
  ]);
  const say = (text: string): string => `printf '%s\\n' ${quoted(text)}`;
  const silent = random.below(40) === 0 ? "exec sleep 5" : "true";
  // Answers every question, rightly or not: its id stands first in the line.
  const result = random.pick([
    `"unsupported":${name}`,
    '"results":[{},{},{},{}]',
    '"results":[null,null,null,null]',
  ]);
  const told = `{"id":"%s",${result.replaceAll("%", "%%").replaceAll("\\", "\\\\")}}\\n`;
  const each = `id=\${line#*'"id":"'}; printf ${quoted(told)} "\${id%%\\"*}"`;
  const honest = `read -r line; ${say(greeting)}; while read -r line; do ${each}; done`;
  return random.pick([
    honest,
    honest,
    honest,
    say(hostileText(random)),
    say(greeting),
    `${say(greeting)}; ${say(answer)}; cat >/dev/null`,
    `${say(greeting.replace("}", `,"skip":${name}}`))}; cat >/dev/null`,
    `read line; ${say(greeting)}; while read line; do ${say(answer)}; done`,
    `printf '%s' ${quoted(greeting)}`,
    `${say(name)} >&2; exit ${random.below(200)}`,
    `${say(greeting)}; yes ${quoted(answer)}`,
    "yes x | tr -d '\\n'",
    "printf '\\377\\000\\033[2J\\n'",
    "kill -9 $$",
    hostileName(random),
    "cat",
    silent,
  ]);
}

/** A command that is not there. */
function hostileName(random: Xorshift): string {
  return `./${hostileText(random).replaceAll(/[^\w\u0080-\uffff]/g, "_")}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const OOPS = [
  "BUG: unable to handle page fault for address: ffff888100000000",
  "#PF: supervisor write access in kernel mode",
  "#PF: error_code(0x0003) - permissions violation",
  "PGD 232ede067 P4D 232ede067 PUD 232d60067 PMD 80000000010000e1 PTE 0",
  "Oops: 0003 [#1] SMP PTI",
  "RIP: 0010:do_thing+0x10/0x40",
  "CR2: ffff888100000000 CR3: 0000000232ede000 CR4: 00000000003706e0",
  "PKRU: 55555554  EFER: d01",
] as const;

/** Lines of an oops, in any order, some of them changed. */
export function anyOops(random: Xorshift): Uint8Array {
  const chosen = Array.from({ length: 1 + random.below(10) }, () =>
    random
      .pick(OOPS)
      .replace(/[0-9a-f]{8,16}/, (digits) => (random.below(2) === 0 ? digits : anyWord(random).toString(16))),
  );
  const bytes = Buffer.from(chosen.join(random.pick(["\n", "\r\n", " "])));
  return random.below(2) === 0 ? bytes : damaged(bytes, random);
}

/** The source of a module that may be a notifier protocol. */
export function anyProtocol(random: Xorshift): string {
  const name = JSON.stringify(hostileText(random));
  return random.pick([
    "export default { begin() { return {}; } };",
    `export default { name: ${name}, kernels: ${name}, begin() { return { end() { throw new Error(${name}); } }; } };`,
    `export default { begin() { throw ${name}; } };`,
    "export default { *begin() { yield 1; return {}; } };",
    "export default { begin() { return 7; } };",
    `export default () => { throw new Error(${name}); };`,
    "export const protocol = null;",
    "export default 7;",
    `${name}`,
    "export default {",
    `throw new Error(${name});`,
  ]);
}
