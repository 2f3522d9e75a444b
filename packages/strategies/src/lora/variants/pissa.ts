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
import { WhetstoneError } from '@whetstone/core/contract';
import type { LowRankPair } from '@whetstone/core/ops';
import { createRandom } from '@whetstone/core/random';
import type { LoraOptions } from '../options.js';
import { lora } from './lora.js';
import { lowRankForward, mergedWeight } from './low-rank.js';
import { principalComponents } from './principal-components.js';
import type { LoraLayerInputs, LoraVariant } from './variant.js';

/** The initial A₀ [rank, in] and B₀ [out, rank]. */
interface Start {
  readonly a: Tensor2D;
  readonly b: Tensor2D;
}

/** Computes A₀ and B₀: s·B₀·A₀ is the sum of the principal components of W. */
function principalStart({ site, rank, scale, seed }: LoraLayerInputs): Start {
  const oriented = tidy(() =>
    site.fanInFanOut ? transpose(site.weight as unknown as Tensor2D) : (clone(site.weight) as Tensor2D),
  );
  const { left, values, right } = principalComponents(oriented, rank, createRandom(seed, `pissa ${site.name}`));
  oriented.dispose();
  const root = (index: number): number => Math.sqrt((values[index] ?? 0) / scale);
  return {
    a: keep(
      tensor2d(
        right.map((value, index) => value * root(Math.floor(index / site.inFeatures))),
        [rank, site.inFeatures],
      ),
    ),
    b: keep(
      tensor2d(
        left.map((value, index) => value * root(index % rank)),
        [site.outFeatures, rank],
      ),
    ),
  };
}

/** Computes the residual W − s·B₀·A₀, with which the base computes, in the layout of the site's weight. */
function residualOf({ site, scale }: LoraLayerInputs, { a, b }: Start): Tensor2D {
  return keep(
    tidy(() => {
      const product = mul<Tensor2D>(matMul(b, a), scale);
      return sub<Tensor2D>(site.weight, site.fanInFanOut ? transpose(product) : product);
    }),
  );
}

/** Returns the options for the exported tensors: twice the ranks, and alphas that give the same scale. */
function exportedOptions(options: LoraOptions): LoraOptions {
  const times = (patterns: Readonly<Record<string, number>>, factor: number): Record<string, number> =>
    Object.fromEntries(Object.entries(patterns).map(([key, value]) => [key, value * factor]));
  const factor = options.useRslora ? Math.SQRT2 : 2;
  return {
    ...options,
    rank: 2 * options.rank,
    alpha: factor * options.alpha,
    rankPattern: times(options.rankPattern, 2),
    alphaPattern: times(options.alphaPattern, factor),
    initLoraWeights: true,
  };
}

/**
 * PiSSA (Meng et al. 2024): A and B contain the principal components of W at first, and the base computes with the
 * residual. It is exported as LoRA of twice the rank on the original weight: s·(B·A − B₀·A₀) = s·[B, −B₀]·[A; A₀].
 */
export const pissa: LoraVariant = {
  peftType: 'LORA',
  selects: ({ initLoraWeights }) => initLoraWeights === 'pissa',
  shapes: lora.shapes,
  checkRank: ({ name, inFeatures, outFeatures }, rank) => {
    const maxRank = Math.min(inFeatures, outFeatures);
    if (rank <= maxRank) return;
    throw new WhetstoneError('CONFIG_INVALID', 'The rank is too large for PiSSA: it exceeds the size of a layer.', {
      place: { path: 'strategy.options.rank' },
      expected: `at most ${maxRank} for ${name}`,
      found: String(rank),
    });
  },
  init: (inputs) => {
    const { site, scaleTensor, tensor } = inputs;
    let start = principalStart(inputs);
    let residual = residualOf(inputs, start);
    const restoreWeight = site.replaceWeight(() => residual);
    const pair: LowRankPair = {
      a: tensor('lora_A.weight', () => clone(start.a)),
      b: tensor('lora_B.weight', () => clone(start.b)),
      scale: scaleTensor,
    };
    const disposeStart = (): void => {
      for (const each of [start.a, start.b, residual]) each.dispose();
    };
    return {
      site,
      forward: (base, dropout) => lowRankForward(pair, base, dropout),
      merge: () => mergedWeight(site, pair, residual),
      export: () =>
        tidy(() => ({
          'lora_A.weight': concat([pair.a, start.a], 0),
          'lora_B.weight': concat([pair.b, neg(start.b)], 1),
        })),
      saveState: () => ({ pissa_A: start.a, pissa_B: start.b }),
      loadState: (stored) => {
        const [a, b] = [stored('pissa_A'), stored('pissa_B')];
        if (a === undefined || b === undefined)
          throw new WhetstoneError(
            'CHECKPOINT_INVALID',
            'The checkpoint lacks the initial matrices of a PiSSA layer.',
            { place: { tensor: site.name } },
          );
        disposeStart();
        start = { a: keep(clone(a as Tensor as Tensor2D)), b: keep(clone(b as Tensor as Tensor2D)) };
        residual = residualOf(inputs, start);
      },
      dispose: () => {
        restoreWeight();
        disposeStart();
      },
    };
  },
  exportedOptions,
};
