import { inflateSync } from "node:zlib";
import { decompress as zstdDecompress } from "fzstd";
import { uncompress as snappyUncompress } from "snappyjs";
import { lzo1xDecompress } from "./lzo1x.ts";

/** How a page is packed, by the flag that a kdump's descriptor has. */
const UNPACK: Readonly<
  Record<number, { name: string; unpack: (bytes: Uint8Array, size: number) => Uint8Array }>
> = {
  0: { name: "plain", unpack: (bytes) => bytes },
  1: { name: "zlib", unpack: (bytes, size) => new Uint8Array(inflateSync(bytes, { maxOutputLength: size })) },
  2: { name: "LZO", unpack: lzo1xDecompress },
  4: { name: "snappy", unpack: (bytes, size) => snappyUncompress(bytes, size) },
  32: { name: "zstd", unpack: (bytes, size) => zstdDecompress(bytes, new Uint8Array(size)) },
};

/** Names of the methods, for messages. */
export const PACKINGS: readonly string[] = Object.values(UNPACK).map(({ name }) => name);

/** The name of a flag's method; null when there is none. */
export function packingName(flag: number): string | null {
  return UNPACK[flag]?.name ?? null;
}

/** Unpacks a page of `size` bytes. Null when the bytes are no such stream, or not of that size. */
export function unpackPage(flag: number, bytes: Uint8Array, size: number): Uint8Array | null {
  try {
    const page = UNPACK[flag]?.unpack(bytes, size);
    return page?.length === size ? page : null;
  } catch {
    // Libraries throw what they like; all of it means that the stream is broken.
    return null;
  }
}
