import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Streams, terminalOn, writeLines } from "../../../src/cli/output.ts";
import { buildMiniGuest, GuestDirectory } from "../formats/mini-guest.ts";
import { runHere } from "./test-terminal.ts";

const ESC = "\x1b";
/** What a name may try: colours, another line, the cursor, the direction of writing. */
const HOSTILE = `${ESC}[31mred\nptescope: all is well\r${ESC}]0;title\x07\x9b2J\u202egnol\u2066`;
const SHOWN = "\\x1b[31mred\\x0aptescope: all is well\\x0d\\x1b]0;title\\x07\\x9b2J\\u202egnol\\u2066";

interface Recorded {
  output: string;
  errors: string;
}

function recording(colours: boolean, live = false) {
  const recorded: Recorded = { output: "", errors: "" };
  const streams: Streams = {
    output: (text) => {
      recorded.output += text;
      return Promise.resolve();
    },
    errors: (text) => {
      recorded.errors += text;
    },
    colours,
    live,
  };
  return { recorded, terminal: terminalOn(streams) };
}

describe("a line is one line, whatever it holds", () => {
  test("on standard output", async () => {
    const { recorded, terminal } = recording(false);
    await terminal.write([HOSTILE, "", "last"]);
    expect(recorded.output).toBe(`${SHOWN}\n\nlast\n`);
  });

  test("with colours: those of paint are colours, those of the text are not", async () => {
    const { recorded, terminal } = recording(true);
    await terminal.write([`${terminal.paint("danger", HOSTILE)} ${HOSTILE} ${terminal.paint("good", "ok")}`]);
    expect(recorded.output).toBe(`${ESC}[31m${SHOWN}${ESC}[0m ${SHOWN} ${ESC}[32mok${ESC}[0m\n`);
  });

  test("on standard error, and of the progress", () => {
    const { recorded, terminal } = recording(false, true);
    terminal.progress(HOSTILE);
    terminal.warn(HOSTILE);
    const wipe = `\r${ESC}[K`;
    expect(recorded.errors).toBe(`${wipe}${SHOWN}${wipe}${SHOWN}\n`);
  });

  test("separators stand between lines, pieces or not", async () => {
    const { recorded, terminal } = recording(false);
    const lines = Array.from({ length: 5 }, (_, i) => String(i).repeat(2 ** 15));
    expect(await writeLines(terminal, lines, 10, ",")).toBe("complete");
    expect(recorded.output).toBe(`${lines.join(",\n")}\n`);
    recorded.output = "";
    expect(await writeLines(terminal, lines, 4, ",")).toBe("limit");
    expect(recorded.output).toBe(`${lines.slice(0, 4).join(",\n")}\n`);
    recorded.output = "";
    expect(await writeLines(terminal, [], 4)).toBe("complete");
    expect(recorded.output).toBe("");
  });
});

describe("every command", () => {
  const guest = new GuestDirectory();
  let folder: string;
  let named: string;
  beforeAll(() => {
    guest.writeGuest(buildMiniGuest());
    folder = mkdtempSync(join(tmpdir(), "ptescope-rim-"));
    named = join(folder, HOSTILE.replaceAll("/", ""));
    mkdirSync(named);
    writeFileSync(join(named, "image"), new Uint8Array(0x3000));
  });
  afterAll(() => {
    guest.remove();
    rmSync(folder, { recursive: true });
  });

  const commands = (): string[][] => [
    ["--help"],
    ["--version"],
    ["dump", "--help"],
    ["ps", guest.path],
    ["dump", guest.path, "--process", "one"],
    ["dump", guest.path, "--process", "one", "--as", "pt"],
    ["dump", guest.path, "--process", "one", "--json"],
    ["walk", guest.path, "--process", "one", "0"],
    ["roots", guest.path],
    ["decode", "1"],
    ["explain", "fault", "15"],
    ["conform", "--list"],
    ["conform", "--groups", "tricky", "--write", "-"],
    ["audit", "--help"],
  ];

  test("says in one line that its output cannot be written, status 2", async () => {
    for (const args of commands()) {
      const { status, errors } = await runHere(args, 0);
      expect({ args, status }).toEqual({ args, status: 2 });
      expect(errors).toMatch(/^ptescope( [a-z]+)?: standard output cannot be written: .* \(EPIPE\)\n$/);
    }
  });

  test("shows names of files, arguments and modules escaped", async () => {
    const image = join(named, "image");
    const module = join(named, `${HOSTILE.replaceAll("/", "")}.mjs`);
    writeFileSync(module, "export default { begin() { return {}; } };");
    const texts = [
      ["dump", image, "--cr3", "1000"],
      ["dump", image, "--cr3", "1000", "--json"],
      ["walk", image, "--cr3", "1000", "0"],
      ["roots", image, "--json"],
      ["ps", named],
      ["ps", image],
      ["decode", HOSTILE],
      ["decode", "--oops", image],
      ["decode", "1", `--${HOSTILE}`],
      ["explain", HOSTILE],
      ["explain", "rule", HOSTILE],
      ["explain", "fault", HOSTILE],
      ["conform", "--groups", HOSTILE],
      ["conform", "--from", image],
      ["conform", "--write", join(named, "no", "where")],
      ["conform", "--against", `printf '%s\\n' '${HOSTILE}'`],
      ["audit", guest.path, "--protocol", module],
      ["audit", guest.path, "--listeners", HOSTILE],
      ["audit", guest.path, "--protocol", join(named, "missing.mjs")],
      [HOSTILE],
      ["help", HOSTILE],
    ];
    for (const args of texts) {
      const { status, output, errors } = await runHere(args);
      expect({ args, known: [0, 1, 2].includes(status) }).toEqual({ args, known: true });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(output + errors).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]/);
      expect(output + errors).not.toMatch(/^ptescope: all is well/m);
    }
  });
});
