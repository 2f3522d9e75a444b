import { createRandom, permutation, shuffle } from '@whetstone/core/random';

export const ORDERS = ['random', 'by-length'] as const;
export type Order = (typeof ORDERS)[number];

/**
 * The lines of all steps in the order in which both sides read them. The same lines are taken for every order.
 *
 * - `random`: lines in random order, so that a batch holds conversations of different lengths.
 * - `by-length`: the same lines, with conversations of similar length in one batch and the batches in random order, as
 *   `group_by_length` of TRL has it: little padding.
 */
export function orderOfSteps(lines: readonly string[], steps: number, batch: number, order: Order): string[] {
  const chosen: string[] = [];
  for (let epoch = 0; chosen.length < steps * batch; epoch++)
    for (const index of permutation(lines.length, createRandom(0, 'bench', epoch))) chosen.push(lines[index] ?? '');
  chosen.length = steps * batch;
  if (order === 'random') return chosen;
  const sorted = chosen.toSorted((a, b) => a.length - b.length);
  const batches = Array.from({ length: steps }, (_, step) => sorted.slice(step * batch, (step + 1) * batch));
  shuffle(batches, createRandom(0, 'bench', 'batches'));
  return batches.flat();
}
