/** The part of WebAssembly that is used here: it is no part of the language's own types. */
declare const WebAssembly: {
  Memory: new (pages: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
};
const WASM_PAGE_SIZE = 2 ** 16;

/** Room for bytes that a direct read can fill: it begins at a page of memory, as other arrays need not. */
export function directBuffer(length: number): Uint8Array {
  const pages = Math.ceil(length / WASM_PAGE_SIZE);
  return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer, 0, length);
}
