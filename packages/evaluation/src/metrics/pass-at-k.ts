/**
 * Returns pass@k (Chen et al. 2021): the probability that at least one of `k` replies is right, estimated without bias
 * from `count` replies of which `right` are right: 1 − C(count − right, k) ÷ C(count, k).
 *
 * @throws `RangeError` if there are fewer than `k` replies, or more right ones than replies
 */
export function passAtK(count: number, right: number, k: number): number {
  if (k < 1 || k > count || right < 0 || right > count)
    throw new RangeError(`pass@${k} needs at least ${k} replies: ${count} were given, of which ${right} are right.`);
  if (count - right < k) return 1;
  let none = 1;
  for (let n = count - right + 1; n <= count; n++) none *= 1 - k / n;
  return 1 - none;
}
