/**
 * What must not come out of a file on its way to a terminal: control characters, whatever has no width or turns the
 * writing direction, line and paragraph separators, halves of surrogate pairs.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
const EVERY_UNPRINTABLE = new RegExp(UNPRINTABLE.source, "gu");
/** Most text is nothing but these, and this is quick to see. */
const NOT_ASCII = /[^\x20-\x7e]/;

/** Whether text can be shown as it is. */
export function isPrintable(text: string): boolean {
  return !NOT_ASCII.test(text) || !UNPRINTABLE.test(text);
}

/** The text with its unprintable characters by number, line ends included: `\x1b`, `\u202e`, `\u{e0001}`. */
export function escapeText(text: string): string {
  return isPrintable(text) ? text : text.replace(EVERY_UNPRINTABLE, byNumber);
}

/** A value as JSON whose strings have their unprintable characters as `\u001b`: it parses to the same value. */
export function jsonText(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent);
  // Only the ends of indented lines are unprintable outside of strings.
  return text.split("\n").map(jsonEscaped).join("\n");
}

function jsonEscaped(line: string): string {
  return isPrintable(line) ? line : line.replace(EVERY_UNPRINTABLE, byCodeUnits);
}

function byNumber(character: string): string {
  const code = character.codePointAt(0)!;
  const digits = code.toString(16);
  if (code < 0x100) return `\\x${digits.padStart(2, "0")}`;
  return code < 0x1_0000 ? `\\u${digits.padStart(4, "0")}` : `\\u{${digits}}`;
}

function byCodeUnits(character: string): string {
  const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
  return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
}
