import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { format } from "node:util";
import { expect, test, vi } from "vitest";

const README = readFileSync("README.md", "utf8");

/** The program and the output of a section of the README. */
function exampleOf(section: string): { code: string; promised: string } {
  const text = README.split("\n## ").find((each) => each.startsWith(`${section}\n`)) ?? "";
  const code = /```ts\n(.*?)```/s.exec(text)?.[1];
  const promised = /It prints:\n\n```text\n(.*?)```/s.exec(text)?.[1];
  if (code === undefined || promised === undefined) throw new Error(`${section}: no example or no output`);
  return { code, promised };
}

test.each(["The library", "Embed the CPU"])(
  "the example in the README runs and prints what it says: %s",
  async (section) => {
    const { code, promised } = exampleOf(section);
    const folder = mkdtempSync(join(resolve("test"), "readme-"));
    const printed: string[] = [];
    const log = vi
      .spyOn(console, "log")
      .mockImplementation((...values) => void printed.push(format(...values)));
    try {
      const file = join(folder, "example.ts");
      writeFileSync(
        file,
        code.replace(/"ptescope\/([a-z]+)"/g, (_, entry) =>
          JSON.stringify(resolve(`src/package/${entry}.ts`)),
        ),
      );
      await import(pathToFileURL(file).href);
    } finally {
      log.mockRestore();
      rmSync(folder, { recursive: true });
    }
    expect(`${printed.join("\n")}\n`).toBe(promised);
  },
);

test("the story in the README is the one that is told", async () => {
  const { runHere } = await import("./src/cli/test-terminal.ts");
  const [, story = "none"] = /```text\n(Broken: .*?)```/s.exec(README) ?? [];
  expect((await runHere(["explain", "rule", "2"])).output).toContain(story);
});

test("every command that the README names exists", async () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
  for (const [, script = ""] of README.matchAll(/npm run (?:--silent )?([a-z:]+)/g)) {
    expect(scripts).toHaveProperty(script);
  }
  const { runHere } = await import("./src/cli/test-terminal.ts");
  for (const [, command = ""] of README.matchAll(/^ptescope ([a-z]+)/gm)) {
    expect((await runHere([command, "--help"])).status).toBe(0);
  }
});
