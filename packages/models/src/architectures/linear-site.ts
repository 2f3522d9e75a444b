import { add, matMul, type Tensor, type Tensor2D, type Variable } from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite } from '@whetstone/core/contract';
import type { LinearShape } from './parameters.js';

/** A linear site with its computation, as the decoder uses it. */
export interface ComputedLinearSite extends LinearSite {
  /** Computes the layer with its wrappers, [tokens, in] → [tokens, out]. */
  readonly forward: LinearForward;
  /** Returns the matrix [out, in], or null if the layer is wrapped, has a bias or stores its weight as [in, out]. */
  plainWeight(): Tensor2D | null;
}

/** Pushes an item onto a stack. Returns a function that removes this item, wherever it is in the stack by then. */
function push<T>(stack: { readonly item: T }[], item: T): () => void {
  const entry = { item };
  stack.push(entry);
  return () => {
    const index = stack.indexOf(entry);
    if (index >= 0) stack.splice(index, 1);
  };
}

/** Creates a linear site. `weight` is [out, in], or [in, out] under `fanInFanOut`. The site does not own it. */
export function createLinearSite(
  shape: LinearShape,
  weight: Variable,
  bias: Variable | null,
  fanInFanOut: boolean,
): ComputedLinearSite {
  const wrappers: { readonly item: (base: LinearForward) => LinearForward }[] = [];
  const replacements: { readonly item: () => Tensor2D }[] = [];
  const matrix = (): Tensor2D => replacements.at(-1)?.item() ?? (weight as Tensor as Tensor2D);
  const base: LinearForward = Object.assign(
    (input: Tensor2D) => {
      const product: Tensor2D = matMul(input, matrix(), false, !fanInFanOut);
      return bias === null ? product : (add(product, bias) as Tensor2D);
    },
    { plain: () => ({ weight: matrix(), fanInFanOut, bias }) },
  );
  return {
    name: shape.name,
    inFeatures: shape.inFeatures,
    outFeatures: shape.outFeatures,
    isOutput: shape.isOutput,
    fanInFanOut,
    weight,
    bias,
    wrap: (wrapper) => push(wrappers, wrapper),
    replaceWeight: (replacement) => push(replacements, replacement),
    plainWeight: () => (wrappers.length > 0 || bias !== null || fanInFanOut ? null : matrix()),
    forward: (input) => wrappers.reduce((inner, { item }) => item(inner), base)(input),
  };
}
