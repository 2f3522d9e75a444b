/** A stream of uniform numbers in [0, 1), the same for the same seed on every machine. */
export type RandomStream = () => number;

/** Marsaglia's xorshift32, its state scattered from the seed so that neighbouring seeds give unlike streams. */
export function randomStream(seed: number): RandomStream {
  let state = Math.imul((seed ^ 0x9e3779b9) | 0, 0x85ebca6b) || 0x6d2b79f5;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4_294_967_296;
  };
  for (let i = 0; i < 8; i++) next();
  return next;
}
