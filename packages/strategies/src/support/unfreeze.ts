import { clone, keep, type Tensor, type Variable } from '@tensorflow/tfjs-core';

/** Makes parameters trainable. Returns a function that freezes them again. */
export function unfreeze(parameters: Iterable<Variable>): () => void {
  const list = [...parameters];
  for (const parameter of list) parameter.trainable = true;
  return () => {
    for (const parameter of list) parameter.trainable = false;
  };
}

/** Saves the current value of a parameter; `restore` assigns it again and releases the copy. Call `restore` once. */
export function rememberValue(parameter: Variable): { readonly original: Tensor; restore(): void } {
  const original = keep(clone(parameter));
  return {
    original,
    restore: () => {
      parameter.assign(original);
      original.dispose();
    },
  };
}

/** Copies a tensor into a variable of the same shape. */
export function assignCopy(target: Variable, value: Parameters<typeof clone>[0]): void {
  const copy = clone(value);
  target.assign(copy as ReturnType<Variable['clone']>);
  copy.dispose();
}
