/** Bytes of linear addresses. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}
