import { addition } from '../kernels/elementwise.js';
import type { Program, Step } from './program.js';

/** TensorFlow's AddN adds up to eight tensors in one pass over memory. */
const MOST_TERMS = 8;

/** Whether a step is a float32 addition of two tensors of one shape, as its record notes. */
const isPlainAddition = (step: Step, types: Program['types']): boolean =>
  step.kernel.name === 'Add' && step.parameters[0] === true && types[step.firstOutput] === 'float32' && step.inputs.length === 2;

/**
 * Turns chains of additions, as tfjs-core's gradient tape writes them where a tensor is used several times, into one addition of all terms.
 * The terms are added in the same order, so that no bit changes; the sums in between are never written to memory.
 */
export function fuseAdditions(program: Program): Program {
  const { steps, types } = program;
  const uses = new Map<number, number>();
  for (const step of steps) for (const input of step.inputs) uses.set(input, (uses.get(input) ?? 0) + 1);
  for (const output of program.outputs) uses.set(output, (uses.get(output) ?? 0) + 1);

  const producers = new Map<number, number>();
  steps.forEach((step, position) => producers.set(step.firstOutput, position));
  const terms = new Map<number, readonly number[]>();
  const dropped = new Set<number>();
  steps.forEach((step, position) => {
    if (!isPlainAddition(step, types)) return;
    const [left = 0, right = 0] = step.inputs;
    // A sum that stands on the left is continued; a + (b + c) is the same as (b + c) + a, but (a + b) + (c + d) is not a + b + c + d.
    const [first, second] = continues(left) ? [left, right] : [right, left];
    const before = continues(first) ? producers.get(first) : undefined;
    const earlier = before === undefined ? undefined : terms.get(before);
    if (before === undefined || earlier === undefined || earlier.length >= MOST_TERMS) {
      terms.set(position, step.inputs);
      return;
    }
    terms.set(position, [...earlier, second]);
    dropped.add(before);
  });
  if (dropped.size === 0) return program;
  const fused = steps.map((step, position): Step => {
    const inputs = terms.get(position);
    return inputs === undefined || inputs.length === 2 ? step : { ...step, kernel: addition, parameters: [], inputs, tensorInputs: inputs.length };
  });
  return { ...program, steps: fused.filter((_, position) => !dropped.has(position)), positions: steps.flatMap((_, position) => (dropped.has(position) ? [] : [position])) };

  function continues(tensor: number): boolean {
    const position = producers.get(tensor);
    return position !== undefined && terms.has(position) && uses.get(tensor) === 1;
  }
}
