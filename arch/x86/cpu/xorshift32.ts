/**
 * The next state of Marsaglia's xorshift32: small, fast and the same everywhere, so that a seed replays a run. Not for
 * anything that must be unpredictable. A state of 0 stays 0. The result is a signed 32-bit number.
 */
export function nextXorshift32(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x;
}

/** Unsigned 32-bit numbers from a seed other than 0. */
export function xorshift32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = nextXorshift32(state);
    return state >>> 0;
  };
}
