import { hex } from "../text/hex.ts";
import type { Doubt } from "./doubt.ts";
import { fillPattern } from "./fill-patterns.ts";

const ALL_ONES = 2n ** 64n - 1n;
const ALL_ONES_32 = 2n ** 32n - 1n;
const EVERY_BYTE = 0x0101_0101_0101_0101n;
const KERNEL_HALF = 0xffff_8000_0000_0000n;
/** Fewer characters than this are too often the bytes of an entry. */
const LEAST_TEXT = 6;
/** Linux's error numbers that people meet end at 133 (EHWPOISON). */
const MOST_ERRNO = 133n;

/** Where Linux's kernel addresses lie with four levels (Documentation/arch/x86/x86_64/mm.rst), highest first. */
const KERNEL_AREAS = [
  { from: 0xffff_ffff_a000_0000n, name: "a module" },
  { from: 0xffff_ffff_8000_0000n, name: "the kernel's text or data" },
  { from: 0xffff_ea00_0000_0000n, name: "a struct page (vmemmap), or above" },
  { from: 0xffff_c900_0000_0000n, name: "vmalloc memory" },
  { from: 0xffff_8880_0000_0000n, name: "the direct map" },
  { from: KERNEL_HALF, name: "the kernel's half" },
] as const;

/** Doubts of a whole value: what it is, is told by its shape. The first that speaks is the one. */
export const SHAPE_DOUBTS: readonly Doubt[] = [
  {
    id: "all-ones",
    example: { value: ALL_ONES },
    says: ({ value }) =>
      value === ALL_ONES || value === ALL_ONES_32
        ? "all ones is what a read returns where no memory or device answers: no entry was read"
        : null,
  },
  {
    id: "poison",
    example: { value: 0x6b6b_6b6b_6b6b_6b6bn },
    says: ({ value }) => {
      const pattern = fillPattern(value);
      return pattern === null ? null : `the pattern of ${pattern.who}: the table was freed or never filled`;
    },
  },
  {
    id: "text",
    example: { value: 0x6d6f_632e_656c_7061n },
    says: ({ value }) => {
      const text = textOf(value);
      return text === null ? null : `the bytes are text, "${text}": the table was overwritten, or is none`;
    },
  },
  {
    id: "repeated-byte",
    example: { value: 0x1717_1717_1717_1717n },
    says: ({ value }) =>
      value !== 0n && value === (value & 0xffn) * EVERY_BYTE
        ? `every byte is ${hex(Number(value & 0xffn))}: memory that something filled, no entry`
        : null,
  },
  {
    id: "error-number",
    example: { value: ALL_ONES - 13n },
    says: ({ value }) =>
      value >= 2n ** 64n - MOST_ERRNO
        ? `it is the error number -${2n ** 64n - value} as a pointer or a result: no entry`
        : null,
  },
  {
    id: "kernel-pointer",
    example: { value: 0xffff_8881_0123_4000n },
    says: ({ value, wrong }) => {
      if (wrong === null || value < KERNEL_HALF) return null;
      const area = KERNEL_AREAS.find(({ from }) => value >= from)!.name;
      return `an address of the kernel, in ${area}: a pointer stands where an entry should`;
    },
  },
  {
    id: "user-pointer",
    example: { value: 0x0000_7fff_e354_2f90n },
    says: ({ value, wrong }) => {
      const top = value >> 40n;
      const usual = top === 0x7fn || top === 0x7en || top === 0x55n || top === 0x56n;
      return wrong !== null && usual
        ? "an address of a user program (stack, library or heap): a pointer stands where an entry should"
        : null;
    },
  },
  {
    id: "floating-point",
    example: { value: 0x4059_0000_0000_0000n },
    says: ({ value, wrong }) => {
      if (wrong === null || (value & 0xffff_ffffn) !== 0n) return null;
      const number = doubleOf(value);
      return Math.abs(number) >= 1e-6 && Math.abs(number) < 1e12
        ? `as a floating-point number it is ${number}: data stands where an entry should`
        : null;
    },
  },
  {
    id: "small-number",
    example: { value: 0x1en },
    says: ({ value, wrong }) =>
      wrong !== null && value < 0x1000n
        ? `a small number (${value}): a counter or a length stands where an entry should, or an entry lost its upper bits`
        : null,
  },
];

/** The characters of a value, in the order of its bytes, when it is text and nothing else; zeros may follow. */
function textOf(value: bigint): string | null {
  const bytes = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
  const end = bytes.indexOf(0);
  const characters = end < 0 ? bytes : bytes.slice(0, end);
  const rest = end < 0 ? [] : bytes.slice(end);
  const isText = characters.every((byte) => byte >= 0x20 && byte < 0x7f) && rest.every((byte) => byte === 0);
  return isText && characters.length >= LEAST_TEXT ? String.fromCharCode(...characters) : null;
}

function doubleOf(value: bigint): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, value);
  return view.getFloat64(0);
}
