import { describe, expect, test } from "vitest";
import { readRecords } from "../../../../src/trace/file/read-records.ts";
import { changed, errorOf, LINES, oneRecord } from "../bad-files.ts";
import { joined, linesFile } from "../files.ts";

describe("a line", () => {
  test.each<[string, Uint8Array, string]>([
    ["cut in the middle", linesFile(LINES).slice(0, -5), "the end of a line, found the file's"],
    ["that is no JSON", changed(2, "{kind:1}"), 'a line to be JSON, found "{kind:1}"'],
    ["with a terminal's codes", changed(2, "\x1b[2J"), 'a line to be JSON, found "\\x1b[2J"'],
    [
      "that turns a terminal's line around",
      oneRecord('"pfn":"\u202e","order":0'),
      'pfn to be hexadecimal digits with 0x, found "\\u202e"',
    ],
    ["that is empty", changed(2, ""), 'a line to be JSON, found ""'],
    ["that is a number", changed(2, "7"), "a line to be a JSON object, found 7"],
    ["that is a list", changed(2, "[]"), "a line to be a JSON object, found an array"],
    ["that is null", changed(2, "null"), "a line to be a JSON object, found null"],
    ["without a kind", changed(2, "{}"), "kind to be one that the header has, found nothing"],
    [
      "of a kind that is none",
      changed(2, '{"kind":"toString"}'),
      'kind to be one that the header has, found "toString"',
    ],
    ["with a mark that is none", changed(2, '{"mark":"x"}'), 'mark to be one of opened, ended, found "x"'],
    [
      "with __proto__",
      oneRecord('"pfn":"0x1","order":0,"__proto__":{"x":1}'),
      'fields of kind page-freed to be those of the header, found "__proto__"',
    ],
    ["without a field", oneRecord('"pfn":"0x1"'), "field order of kind page-freed, found nothing"],
    [
      "with a number for a frame",
      oneRecord('"pfn":1,"order":0'),
      "pfn to be hexadecimal digits with 0x, found 1",
    ],
    [
      "with a frame of letters",
      oneRecord('"pfn":"0xyz","order":0'),
      'pfn to be 1 to 16 hexadecimal digits with 0x, found "0xyz"',
    ],
    [
      "with frame 2^60",
      oneRecord('"pfn":"0x1000000000000000","order":0'),
      'pfn to be at most 52 bits, found "0x1000000000000000"',
    ],
    [
      "with frame 2^40",
      oneRecord('"pfn":"0x10000000000","order":0'),
      "pfn to be a frame number below 2^40, found 1099511627776",
    ],
    [
      "with an order of 1e99",
      oneRecord('"pfn":"0x1","order":1e99'),
      "order to be a whole number of at most 52 bits, found 1e+99",
    ],
    [
      "with bytes that are no UTF-8",
      joined([linesFile(LINES.slice(0, 2)), Uint8Array.of(0x7b, 0xff, 0x7d, 10)]),
      "a line in UTF-8",
    ],
  ])("%s", (_name, file, expected) => {
    expect(errorOf(file)).toContain(`expected ${expected}`);
  });

  test("longer than allowed", () => {
    expect(errorOf(changed(2, `{"kind":"${"x".repeat(30_000)}"}`), { maxLine: 20_000 })).toContain(
      "lines of at most 20000 bytes",
    );
    const endless = function* () {
      yield linesFile(LINES.slice(0, 2));
      for (;;) yield new Uint8Array(1000).fill(0x61);
    };
    expect(() => [...readRecords(endless(), { maxLine: 20_000 })]).toThrow("lines of at most 20000 bytes");
  });

  test("is named by its place", () => {
    const offset = linesFile(LINES.slice(0, 2)).length;
    expect(errorOf(changed(2, "7"))).toBe(
      `f: offset 0x${offset.toString(16)}: expected a line to be a JSON object, found 7`,
    );
  });

  test.each([
    ["0*511", "found 511"],
    ["0*512 1", "found more"],
    ["0*513", "found more"],
    ["", "1 to 16 hexadecimal digits"],
    ["0*0 0*512", "counts after a star"],
    ["0*511  0", "1 to 16 hexadecimal digits"],
    ["12345678901234567*512", "1 to 16 hexadecimal digits"],
  ])("with a table of %j", (words, expected) => {
    const file = changed(
      2,
      `{"kind":"table-linked","seq":1,"agent":0,"cpu":null,"space":null,"pfn":"0x1","level":1,"slot":null,"words":"${words}"}`,
    );
    expect(errorOf(file)).toContain(expected);
  });
});
