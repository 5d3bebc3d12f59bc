import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { GENERATED } from "../../docs/generate.ts";

test.each(Object.entries(GENERATED))("%s is what its table makes (npm run docs)", (file, make) => {
  expect(readFileSync(file, "utf8")).toBe(make());
});
