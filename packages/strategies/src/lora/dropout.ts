import { cast, greaterEqual, mul, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type Json,
  type LanguageModel,
  type LinearSite,
  type WorkerRank,
} from '@whetstone/core/contract';
import { randomUniform, type Scalars } from '@whetstone/core/ops';
import { createRandom, type Random } from '@whetstone/core/random';
import type { LoraDropout } from './variants/variant.js';

/** Creates the dropout masks of the adapted layers. Each layer has its own generator. */
export interface Dropout {
  /** Returns the masks of a layer; null without dropout. */
  of(site: LinearSite): LoraDropout | null;
  /** The states of the generators, by layer. */
  saveState(): Json;
  /** Restores the states. @throws `CHECKPOINT_INVALID` if that of a layer is missing */
  loadState(states: Json | undefined): void;
}

/**
 * Creates the dropout of an adapter. A mask is computed on the device, and two numbers of the layer's generator seed
 * it. Workers use different generators, because they process different samples.
 *
 * @param scalars owns the constants that all masks share
 */
export function createDropout(
  model: LanguageModel,
  rate: number,
  seed: number,
  { rank }: WorkerRank,
  scalars: Scalars,
): Dropout {
  const randoms = new Map<string, Random>();
  return {
    of: ({ name, inFeatures }) => {
      if (rate === 0) return null;
      const random = createRandom(seed, rank === 0 ? `dropout ${name}` : `dropout ${name} of worker ${rank}`);
      randoms.set(name, random);
      const [threshold, gain] = [scalars(rate), scalars(1 / (1 - rate))];
      return (tokens) => {
        if (!model.training) return null;
        const uniform = randomUniform([tokens, inFeatures], [random.integer(2 ** 31), random.integer(2 ** 31)]);
        return mul<Tensor2D>(cast(greaterEqual(uniform, threshold), 'float32'), gain);
      };
    },
    saveState: () => Object.fromEntries([...randoms].map(([name, random]) => [name, random.saveState()])),
    loadState: (states) => {
      // A run that had no dropout before saved no states.
      if (Object.keys((states ?? {}) as object).length === 0) return;
      for (const [name, random] of randoms) restore(name, random, states, rank);
    },
  };
}

/** Restores a generator. Only worker 0 saves its states; the other workers derive theirs from them. */
function restore(name: string, random: Random, states: Json | undefined, rank: number): void {
  const state = ((states ?? {}) as Readonly<Record<string, readonly number[]>>)[name];
  if (state === undefined)
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks the dropout state of a layer.', {
      expected: name,
    });
  random.loadState(
    rank === 0 ? state : state.map((word, index) => (index === 0 ? word ^ Math.imul(rank, 0x9e3779b9) : word)),
  );
  if (rank > 0) for (let round = 0; round < 12; round++) random.uniform();
}
