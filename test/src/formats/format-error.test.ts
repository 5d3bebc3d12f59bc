import { expect, test } from "vitest";
import { FormatError, quote } from "../../../src/formats/format-error.ts";

test("says file, offset and what was expected, in one line", () => {
  const error = new FormatError("a.elf", 0x1f, "ET_CORE (4)");
  expect(error.message).toBe("a.elf: offset 0x1f: expected ET_CORE (4)");
  expect(error).toMatchObject({ name: "FormatError", file: "a.elf", offset: 0x1f, expected: "ET_CORE (4)" });
  expect(error).toBeInstanceOf(Error);
});

test("without a place there is no offset", () => {
  expect(new FormatError("a.elf", null, "a regular file").message).toBe("a.elf: expected a regular file");
});

test("what a file or its name holds cannot break the line or move the cursor", () => {
  const error = new FormatError("a\nb", 0, `x, found ${quote("\u001b[2J\r\n\u2028")}`);
  expect(error.message).toBe('a\\x0ab: offset 0x0: expected x, found "\\x1b[2J\\x0d\\x0a\\u2028"');
});

test("long pieces are shortened", () => {
  expect(quote("y".repeat(1000))).toBe(`"${"y".repeat(48)}..."`);
});
