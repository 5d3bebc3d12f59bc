import { describe, expect, test } from "vitest";
import { escapeText, isPrintable, jsonText } from "../../../src/text/escape.ts";

/** First and last of each kind of character that acts on a terminal or cannot be seen, and how it is shown. */
const SHOWN: readonly (readonly [kind: string, text: string, shown: string])[] = [
  ["control", "\0\t\n\r\x1b\x1f", "\\x00\\x09\\x0a\\x0d\\x1b\\x1f"],
  ["DEL and C1", "\x7f\x80\x9b\x9f", "\\x7f\\x80\\x9b\\x9f"],
  ["soft hyphen", "\u00ad", "\\xad"],
  ["direction", "\u061c\u200e\u200f", "\\u061c\\u200e\\u200f"],
  ["embeddings and overrides", "\u202a\u202e", "\\u202a\\u202e"],
  ["isolates", "\u2066\u2069", "\\u2066\\u2069"],
  ["without a width", "\u200b\u200c\u200d\u2060\ufeff", "\\u200b\\u200c\\u200d\\u2060\\ufeff"],
  ["fillers and selectors", "\u034f\u115f\u3164\ufe0f", "\\u034f\\u115f\\u3164\\ufe0f"],
  ["separators", "\u2028\u2029", "\\u2028\\u2029"],
  ["halves of pairs", "\udc0c \ud83d", "\\udc0c \\ud83d"],
  ["tags", "\u{e0001}\u{e007f}", "\\u{e0001}\\u{e007f}"],
];

describe("what a terminal would act on is shown by number", () => {
  test.each(SHOWN)("%s", (_, text, shown) => {
    expect(escapeText(text)).toBe(shown);
    expect(isPrintable(text)).toBe(false);
    expect(isPrintable(shown)).toBe(true);
  });

  test("everything else stays", () => {
    const text = `${String.fromCharCode(...Array.from({ length: 95 }, (_, i) => 32 + i))} für 漢字 שלום 🐌`;
    expect(escapeText(text)).toBe(text);
  });
});

describe("JSON", () => {
  test.each(SHOWN)("%s: printable, and the same value", (_, text) => {
    const value = { [text]: [text, 1, null] };
    expect(isPrintable(jsonText(value))).toBe(true);
    expect(JSON.parse(jsonText(value))).toEqual(value);
    expect(jsonText(value, 2).split("\n").every(isPrintable)).toBe(true);
    expect(JSON.parse(jsonText(value, 2))).toEqual(value);
  });
});
