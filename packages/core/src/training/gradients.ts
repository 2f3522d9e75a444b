import { add, clone, ones, tidy, type Scalar, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { addGradients } from '../ops/memory.js';
import { backpropagate, pathsBetween, recordTape } from './tape.js';

/**
 * Returns the gradients of `loss` with respect to the trainable parameters, by parameter name (the variable names of
 * tfjs-core are unique per process, not per model). Parameters on which the loss does not depend have no entry. The
 * caller owns all tensors.
 */
export function gradientsOf(trainable: ReadonlyMap<string, Variable>, loss: () => Scalar): Map<string, Tensor> {
  const { value, tape, release, dispose } = recordTape(loss);
  try {
    const names: string[] = [];
    // tidy finds tensors in arrays, but not in maps.
    const gradients = tidy('backward', () => {
      const paths = pathsBetween(tape, [...trainable.values()], value);
      const onPath = new Set(paths.map(({ node }) => node));
      for (const node of tape) if (!onPath.has(node)) release(node);
      const found = backpropagate(paths, value, ones(value.shape), addGradients, release);
      const seen = new Set<Tensor>();
      return [...trainable].flatMap(([name, parameter]) => {
        const gradient = found.get(parameter.id);
        if (gradient === undefined) return [];
        names.push(name);
        const own = seen.has(gradient) ? clone(gradient) : gradient;
        seen.add(gradient);
        return [own];
      });
    });
    return new Map(names.map((name, index) => [name, gradients[index] as Tensor]));
  } finally {
    dispose();
  }
}

/** Adds `more` to `total` by name. Takes ownership of `more`: its tensors move to `total` or are disposed. */
export function accumulate(total: Map<string, Tensor>, more: ReadonlyMap<string, Tensor>): void {
  for (const [name, gradient] of more) {
    const before = total.get(name);
    total.set(name, before === undefined ? gradient : tidy(() => add(before, gradient)));
    if (before === undefined) continue;
    before.dispose();
    gradient.dispose();
  }
}

export function disposeAll(tensors: Iterable<Tensor>): void {
  for (const tensor of tensors) tensor.dispose();
}
