/** Who changed an entry, on whose behalf. */
export interface Changer {
  /** Number of the record of the store: the change's id. */
  readonly seq: number;
  readonly agent: number;
  /** The kernel function that it was in, or what it is otherwise. */
  readonly site: string;
  /** The primitive that stored, where a hint says so; else empty. */
  readonly primitive: string;
}
