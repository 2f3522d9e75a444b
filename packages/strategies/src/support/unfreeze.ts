import { clone, keep, type Tensor, type Variable } from '@tensorflow/tfjs-core';

/** Makes stored parameters trainable; the result freezes them again. */
export function unfreeze(parameters: Iterable<Variable>): () => void {
  const list = [...parameters];
  for (const parameter of list) parameter.trainable = true;
  return () => {
    for (const parameter of list) parameter.trainable = false;
  };
}

/** Remembers a parameter's present value; the result puts it back and forgets it. */
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
