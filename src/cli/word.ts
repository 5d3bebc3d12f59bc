import { quote } from "../formats/format-error.ts";
import { UsageError } from "./command.ts";

const MAX_64 = 2n ** 64n;
/** How debuggers and listings divide long numbers: WinDbg's backtick, underscores, the suffix of a C constant. */
const DIVIDERS = /(?<=[0-9a-f])[`_'](?=[0-9a-f])/gi;
const C_SUFFIX = /u?ll?$|u$/i;

/**
 * A 64-bit value as people have it: hexadecimal with or without 0x, binary after 0b, perhaps divided (`) or with the
 * suffix of a C constant. Throws UsageError.
 */
export function parseWord(what: string, text: string): bigint {
  const word = text.trim().replace(DIVIDERS, "").replace(C_SUFFIX, "");
  const binary = /^0b([01]+)$/i.exec(word)?.[1];
  const digits = /^(?:0x)?([0-9a-f]+)$/i.exec(word)?.[1];
  const value =
    binary !== undefined && binary.length <= 64
      ? BigInt(`0b${binary}`)
      : digits !== undefined && digits.length <= 32 && binary === undefined
        ? BigInt(`0x${digits}`)
        : MAX_64;
  if (value >= MAX_64) {
    throw new UsageError(
      `${what} ${quote(text)}: give up to 16 hexadecimal digits, or 0b and up to 64 binary ones`,
    );
  }
  return value;
}
