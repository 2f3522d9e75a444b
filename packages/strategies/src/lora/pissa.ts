import {
  clone,
  concat,
  keep,
  matMul,
  mul,
  neg,
  sub,
  tensor2d,
  tidy,
  transpose,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import type { LinearSite } from '@whetstone/core/contract';
import { createRandom } from '@whetstone/core/random';
import type { LoraOptions } from './options.js';
import { principalComponents } from './principal-components.js';

/**
 * The initial state of a PiSSA layer (Meng et al. 2024): A and B contain the principal components of W, and the base
 * computes with the residual.
 */
export interface PissaStart {
  /**
   * The initial A [rank, in] and B [out, rank]. The exported adapter is the difference from them.
   */
  readonly a: Tensor2D;
  readonly b: Tensor2D;
  /** The weight with which the base computes, in the layout of the site's weight. */
  readonly residual: Tensor2D;
  /** Replaces A₀ and B₀ by those of a checkpoint and computes the residual again. The caller keeps the tensors. */
  replaceStart(a: Tensor, b: Tensor): void;
  dispose(): void;
}

/**
 * Computes the initial state and replaces the site's weight by the residual W − s·B₀·A₀. The rank must fit the layer.
 */
export function startPissa(site: LinearSite, rank: number, scale: number, seed: number): PissaStart {
  const oriented = tidy(() =>
    site.fanInFanOut ? transpose(site.weight as unknown as Tensor2D) : (clone(site.weight) as Tensor2D),
  );
  const { left, values, right } = principalComponents(oriented, rank, createRandom(seed, `pissa ${site.name}`));
  oriented.dispose();
  const root = (index: number): number => Math.sqrt((values[index] ?? 0) / scale);
  let a = keep(
    tensor2d(
      right.map((value, index) => value * root(Math.floor(index / site.inFeatures))),
      [rank, site.inFeatures],
    ),
  );
  let b = keep(
    tensor2d(
      left.map((value, index) => value * root(index % rank)),
      [site.outFeatures, rank],
    ),
  );
  const residualOf = (): Tensor2D =>
    keep(
      tidy(() => {
        const product = mul<Tensor2D>(matMul(b, a), scale);
        return sub<Tensor2D>(site.weight, site.fanInFanOut ? transpose(product) : product);
      }),
    );
  let residual = residualOf();
  const restoreWeight = site.replaceWeight(() => residual);
  return {
    get a() {
      return a;
    },
    get b() {
      return b;
    },
    get residual() {
      return residual;
    },
    replaceStart: (newA, newB) => {
      for (const old of [a, b, residual]) old.dispose();
      a = keep(clone(newA) as Tensor2D);
      b = keep(clone(newB) as Tensor2D);
      residual = residualOf();
    },
    dispose: () => {
      restoreWeight();
      for (const tensor of [a, b, residual]) tensor.dispose();
    },
  };
}

/**
 * Converts a trained PiSSA layer to LoRA of twice the rank on the original weight: s·(B·A − B₀·A₀) = s·[B, −B₀]·[A;
 * A₀]. The caller owns the result.
 */
export function pissaAsLora(
  start: PissaStart,
  a: Tensor2D,
  b: Tensor2D,
): { readonly a: Tensor2D; readonly b: Tensor2D } {
  return tidy(() => ({ a: concat([a, start.a], 0), b: concat([b, neg(start.b)], 1) }));
}

/** Returns the options for {@link pissaAsLora}: twice the ranks, and alphas that give the same scale. */
export function pissaOptionsAsLora(options: LoraOptions): LoraOptions {
  const { useRslora } = options;
  const times = (patterns: Readonly<Record<string, number>>, factor: number): Record<string, number> =>
    Object.fromEntries(Object.entries(patterns).map(([key, value]) => [key, value * factor]));
  const factor = useRslora ? Math.SQRT2 : 2;
  return {
    ...options,
    rank: 2 * options.rank,
    alpha: factor * options.alpha,
    rankPattern: times(options.rankPattern, 2),
    alphaPattern: times(options.alphaPattern, factor),
    initLoraWeights: true,
  };
}
