import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";

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

test("a reader that has seen enough is no error", () => {
  const command = `"${process.execPath}" --import tsx src/cli/main.ts dump ${GUEST} --process huge --as qemu-tlb`;
  const shell = spawnSync("bash", ["-o", "pipefail", "-c", `${command} | head -n 1`], { encoding: "latin1" });
  expect({ status: shell.status, errors: shell.stderr }).toEqual({ status: 0, errors: "" });
  expect(shell.stdout.split("\n")).toHaveLength(2);
});
