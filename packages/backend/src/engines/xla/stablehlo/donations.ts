import { sameShape } from '@whetstone/core/util';
import type { Program } from '../../../recorder/program.js';
import { type StorageDtype } from '../../../recorder/types.js';

interface Shaped {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
}

/** Steps that are looked through on the way from a result back to the input that it is a new version of. */
const FARTHEST = 24;

/**
 * Which spent inputs give their memory to which results: an optimizer's new parameter takes the old one's place, a sum
 * of gradients that of the sum so far. A kernel says which input a result replaces; elsewhere it is the nearest one of
 * the same shape that the result is computed from.
 *
 * @returns result's position by input
 */
export function donationsOf(
  program: Program,
  tensors: readonly Shaped[],
  spent: ReadonlySet<number>,
): Map<number, number> {
  const donations = new Map<number, number>();
  if (spent.size === 0) return donations;
  const producers = new Map<number, number>();
  program.steps.forEach(({ firstOutput, outputs }, step) => {
    for (let offset = 0; offset < outputs; offset++) producers.set(firstOutput + offset, step);
  });
  const suits = (input: number, result: Shaped): boolean => {
    const given = tensors[input];
    return (
      spent.has(input) &&
      !donations.has(input) &&
      given !== undefined &&
      given.type === result.type &&
      sameShape(given.shape, result.shape)
    );
  };
  program.outputs.forEach((output, position) => {
    const result = tensors[output];
    const input =
      result === undefined ? undefined : nearest(program, producers, output, (candidate) => suits(candidate, result));
    if (input !== undefined) donations.set(input, position);
  });
  return donations;
}

function nearest(
  { steps }: Program,
  producers: ReadonlyMap<number, number>,
  result: number,
  suits: (input: number) => boolean,
): number | undefined {
  const queue = [result];
  const seen = new Set(queue);
  for (let looked = 0; looked < FARTHEST; looked++) {
    const tensor = queue.shift();
    const step = tensor === undefined ? undefined : steps[producers.get(tensor) ?? -1];
    if (tensor === undefined) return undefined;
    if (step === undefined) continue;
    const named = step.kernel.replaces?.[tensor - step.firstOutput];
    const candidates =
      named === undefined
        ? step.inputs.slice(0, step.tensorInputs)
        : named.flatMap((place) => step.inputs[place] ?? []);
    const found = candidates.find(suits);
    if (found !== undefined) return found;
    for (const input of candidates) {
      if (seen.has(input)) continue;
      seen.add(input);
      queue.push(input);
    }
  }
  return undefined;
}
