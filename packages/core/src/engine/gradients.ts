import { add, clone, engine, tidy, type Scalar, type Tensor, type Variable } from '@tensorflow/tfjs-core';

/**
 * Gradients of `loss` with respect to the trainable parameters, by our own names (tfjs-core's names of variables are unique per process,
 * not per model). A parameter that the loss does not depend on has none. Every tensor is the caller's.
 */
export function gradientsOf(trainable: ReadonlyMap<string, Variable>, loss: () => Scalar): Map<string, Tensor> {
  const { value, grads } = withCleanTape(() => engine().gradients(loss, [...trainable.values()], undefined, true));
  value.dispose();
  const result = new Map<string, Tensor>();
  const seen = new Set<Tensor>();
  for (const [index, name] of [...trainable.keys()].entries()) {
    // A variable without a path to the loss has no gradient, whatever the declared type says.
    const gradient = grads[index] as Tensor | undefined | null;
    if (gradient === undefined || gradient === null) continue;
    result.set(name, seen.has(gradient) ? clone(gradient) : gradient);
    seen.add(gradient);
  }
  return result;
}

/** tfjs-core keeps what a gradient tape saved where the function threw: it is disposed here. */
function withCleanTape<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { state } = engine();
    for (const node of (state.activeTape as typeof state.activeTape | null) ?? []) disposeAll(node.saved ?? []);
    state.activeTape = [];
    throw error;
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
