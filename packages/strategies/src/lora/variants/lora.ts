import { zeros, type Rank } from '@tensorflow/tfjs-core';
import type { LowRankPair } from '@whetstone/core/ops';
import { initialA, lowRankForward, mergedWeight } from './low-rank.js';
import type { LoraVariant } from './variant.js';

/** LoRA (Hu et al. 2021): y = W·x + s·B·A·x. B is zero at first. */
export const lora: LoraVariant = {
  peftType: 'LORA',
  selects: () => true,
  shapes: {
    'lora_A.weight': ({ inFeatures }, rank) => [rank, inFeatures],
    'lora_B.weight': ({ outFeatures }, rank) => [outFeatures, rank],
  },
  init: (inputs) => {
    const { site, rank, scaleTensor, tensor } = inputs;
    const pair: LowRankPair = {
      a: tensor('lora_A.weight', () => initialA(inputs)),
      b: tensor('lora_B.weight', () => zeros<Rank.R2>([site.outFeatures, rank])),
      scale: scaleTensor,
    };
    return {
      site,
      forward: (base, dropout) => lowRankForward(pair, base, dropout),
      merge: () => mergedWeight(site, pair),
      dispose: () => {},
    };
  },
};
