/** Eight hexadecimal digits of a 32-bit word, signed or not, without 0x. */
export function hex32(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

/** The shortest form, with 0x. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
