import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";

const GUEST = "src/samples/guest-a1";

/** The real program in its own process, as `npm run ptescope` starts it. */
function ptescope(...args: readonly string[]): { status: number | null; output: string; errors: string } {
  const node = spawnSync(process.execPath, ["--import", "tsx", "src/cli/main.ts", ...args], {
    encoding: "latin1",
    maxBuffer: 2 ** 26,
  });
  return { status: node.status, output: node.stdout, errors: node.stderr };
}

const read = (name: string): string =>
  gunzipSync(readFileSync(`test/data/guest-a1/${name}`)).toString("latin1");

test("dump --as qemu-tlb prints what QEMU printed, byte for byte", () => {
  const { status, output, errors } = ptescope("dump", GUEST, "--process", "huge", "--as", "qemu-tlb");
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  const wanted = read("huge.user.tlb.txt.gz") + read("kernel-tlb-0.txt.gz");
  expect(output.length).toBe(wanted.length);
  expect(output === wanted).toBe(true);
});

test("a pipe gets no colour, a mistake one line and status 2", () => {
  const { status, output, errors } = ptescope("dump", GUEST, "--process", "nobody");
  expect({ status, output }).toEqual({ status: 2, output: "" });
  expect(errors).toMatch(/^ptescope dump: no process "nobody": there are .*\n$/);
});

describe("output that cannot be written is one line and status 2", () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-output-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Runs the program as "$@" of a shell's script, in a folder of its own. */
  function shell(script: string, ...args: readonly string[]) {
    const program = [process.execPath, "--import", import.meta.resolve("tsx"), resolve("src/cli/main.ts")];
    const { status, stdout, stderr } = spawnSync("bash", ["-c", script, "sh", ...program, ...args], {
      cwd: folder,
      encoding: "latin1",
    });
    return { status, stdout, stderr };
  }
  const said = (why: string): object => ({ status: 2, stdout: "", stderr: expect.stringMatching(why) });
  const ONE_LINE = "^ptescope [a-z]+: .*";

  test("a reader that has gone", () => {
    const script = 'mkfifo pipe; exec 3<>pipe; exec 4>pipe; exec 3<&-; "$@" >&4';
    expect(shell(script, "decode", "1")).toEqual(said(`${ONE_LINE}its reader has closed it \\(EPIPE\\)\n$`));
  });

  test("a reader that goes away in the middle", () => {
    const { status, stdout, stderr } = shell(
      'set -o pipefail; "$@" | head -n 1',
      ...["dump", resolve(GUEST), "--process", "huge", "--as", "qemu-tlb"],
    );
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(`${ONE_LINE}EPIPE\\)\n$`),
    });
    expect(stdout.split("\n")).toHaveLength(2);
  });

  test.runIf(existsSync("/dev/full"))("a full device", () => {
    expect(shell('"$@" >/dev/full', "decode", "1")).toEqual(
      said(`${ONE_LINE}no space is left \\(ENOSPC\\)\n$`),
    );
    expect(shell('"$@"', "conform", "--groups", "tricky", "--write", "/dev/full")).toEqual(
      said("^ptescope conform: /dev/full: expected a place to write to \\(ENOSPC\\)\n$"),
    );
  });

  test("a file that may not grow as far: what fits is no success", () => {
    const cases = ["conform", "--groups", "tricky", "--write"];
    const limited = 'ulimit -f 4; "$@"';
    expect(shell(`${limited} >printed`, ...cases, "-")).toEqual(
      said(`${ONE_LINE}may not grow further \\(EFBIG\\)\n$`),
    );
    writeFileSync(join(folder, "old"), "as before");
    for (const name of ["old", "new"]) {
      expect(shell(limited, ...cases, name)).toEqual(said(`${ONE_LINE}place to write to \\(EFBIG\\)\n$`));
    }
    expect(readFileSync(join(folder, "old"), "utf8")).toBe("as before");
    expect(readdirSync(folder).sort()).toEqual(["old", "pipe", "printed"]);
  });

  test.runIf(existsSync("/dev/full"))(
    "nobody hears of an error on standard error: the status says it",
    () => {
      expect(shell('"$@" 2>/dev/full', "decode", "z")).toEqual({ status: 2, stdout: "", stderr: "" });
    },
  );

  // Node opens /dev/null in the place of what is closed before it reads a line of ours.
  test("closed descriptors", () => {
    expect(shell('"$@" <&- >&- 2>&-', "decode", "1")).toEqual({ status: 0, stdout: "", stderr: "" });
  });
});

test("what a protocol's module leaves behind is one line and status 2", () => {
  const folder = mkdtempSync(join(tmpdir(), "ptescope-module-"));
  const module = join(folder, "mine.mjs");
  writeFileSync(module, "Promise.reject(new Error('left\\nbehind')); await new Promise(() => {});");
  const { status, output, errors } = ptescope("audit", "--protocol", module);
  rmSync(folder, { recursive: true });
  expect({ status, output }).toEqual({ status: 2, output: "" });
  expect(errors).toBe("ptescope: a module that was loaded threw: Error: left behind\n");
});

test("100 inputs of every kind, some as programs of their own: nothing breaks it", () => {
  const node = spawnSync(
    process.execPath,
    ["--import", "tsx", "test/fuzz/run.ts", "--count", "100", "--processes", "3"],
    { encoding: "utf8" },
  );
  expect(node.stdout).toContain("; 0 found");
  expect(node.status).toBe(0);
});
