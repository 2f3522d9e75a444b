/**
 * How much `y` grows for each unit of `x`: the median of the slopes between all pairs of points (Theil 1950, Sen 1968).
 * What lasts for one point, such as a checkpoint that is being written, does not count; what stays does.
 */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const slopes = points
    .flatMap(([x, y], index) => points.slice(index + 1).map(([laterX, laterY]) => (laterY - y) / (laterX - x)))
    .toSorted((a, b) => a - b);
  const middle = Math.floor(slopes.length / 2);
  return slopes.length % 2 === 1
    ? (slopes[middle] ?? NaN)
    : ((slopes[middle - 1] ?? NaN) + (slopes[middle] ?? NaN)) / 2;
}
