/** The hash of an empty list, from which every 32-bit FNV-1a hash starts. */
export const FNV_OFFSET = 0x811c9dc5;

/**
 * Returns a 32-bit FNV-1a hash with one more item, as a signed integer. Use `hash >>> 0` for the unsigned one.
 *
 * The published function takes bytes (http://www.isthe.com/chongo/tech/comp/fnv/). Here an item may be any 32-bit
 * integer.
 */
export const fnv1aStep = (hash: number, item: number): number => Math.imul(hash ^ item, 0x01000193);

/** Returns the 32-bit FNV-1a hash of a list of integers, unsigned. `hash` continues an earlier one. */
export function fnv1a(items: ArrayLike<number>, hash: number = FNV_OFFSET): number {
  for (let index = 0; index < items.length; index++) hash = fnv1aStep(hash, items[index] ?? 0);
  return hash >>> 0;
}
