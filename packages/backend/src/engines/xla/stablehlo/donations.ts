import { sameShape } from '@whetstone/core/util';
import type { Program } from '../../../recorder/program.js';
import { type StorageDtype } from '../../../recorder/types.js';

interface Shaped {
  readonly type: StorageDtype;
  readonly shape: readonly number[];
}

/** Steps that the search for a result's input visits. */
const MAX_STEPS = 24;

/**
 * Returns which spent inputs donate their memory to which results: for each input, the position of the result. An
 * optimizer's new parameter reuses the memory of the old one. A kernel may name the input that a result replaces.
 * Otherwise it is the nearest input of the same dtype and shape from which the result is computed.
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
    const candidate = tensors[input];
    return (
      spent.has(input) &&
      !donations.has(input) &&
      candidate !== undefined &&
      candidate.type === result.type &&
      sameShape(candidate.shape, result.shape)
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
  for (let visited = 0; visited < MAX_STEPS; visited++) {
    const tensor = queue.shift();
    const step = tensor === undefined ? undefined : steps[producers.get(tensor) ?? -1];
    if (tensor === undefined) return undefined;
    if (step === undefined) continue;
    const replaced = step.kernel.replaces?.[tensor - step.firstOutput];
    const candidates =
      replaced === undefined
        ? step.inputs.slice(0, step.tensorInputs)
        : replaced.flatMap((operand) => step.inputs[operand] ?? []);
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
