import * as tf from '@tensorflow/tfjs-core';
import type { LinearForward, LinearSite } from '@whetstone/core/contract';
import type { LinearShape } from './parameters.js';

/** A linear site as the decoder uses it: with its computation, wrappers applied. */
export interface ComputedLinearSite extends LinearSite {
  readonly forward: LinearForward;
  /**
   * The matrix [out, in] that is all there is to the layer; null where it is wrapped, has a bias or is stored the other
   * way round.
   */
  plainWeight(): tf.Tensor2D | null;
}

/** Puts an element on a stack; the result takes that very element off again, wherever it is by then. */
function push<T>(stack: { readonly item: T }[], item: T): () => void {
  const entry = { item };
  stack.push(entry);
  return () => {
    const index = stack.indexOf(entry);
    if (index >= 0) stack.splice(index, 1);
  };
}

export function createLinearSite(
  shape: LinearShape,
  weight: tf.Variable,
  bias: tf.Variable | null,
  fanInFanOut: boolean,
): ComputedLinearSite {
  const wrappers: { readonly item: (base: LinearForward) => LinearForward }[] = [];
  const replacements: { readonly item: () => tf.Tensor2D }[] = [];
  const matrix = (): tf.Tensor2D => replacements.at(-1)?.item() ?? (weight as tf.Tensor as tf.Tensor2D);
  const base: LinearForward = Object.assign(
    (input: tf.Tensor2D) => {
      const product: tf.Tensor2D = tf.matMul(input, matrix(), false, !fanInFanOut);
      return bias === null ? product : (tf.add(product, bias) as tf.Tensor2D);
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
