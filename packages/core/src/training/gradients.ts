import { add, clone, ones, tidy, type Scalar, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { addGradients } from '../ops/gather-rows.js';
import { backpropagate, pathsBetween, recordTape } from './tape.js';

/**
 * Gradients of `loss` with respect to the trainable parameters, by our own names (tfjs-core's names of variables are
 * unique per process, not per model). A parameter that the loss does not depend on has none. Every tensor is the
 * caller's.
 */
export function gradientsOf(trainable: ReadonlyMap<string, Variable>, loss: () => Scalar): Map<string, Tensor> {
  const { value, tape, release, dispose } = recordTape(loss);
  try {
    const names: string[] = [];
    // A tidy finds tensors in lists, but not in maps.
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

/** Adds `more` into `total`, name by name, and takes `more` over: its tensors are disposed or become `total`'s. */
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
