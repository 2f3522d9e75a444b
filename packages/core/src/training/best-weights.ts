import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { readTrained } from '../checkpoint/index.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';

/**
 * Returns whether lower values of a metric are better. Decided by the name, as transformers does: losses and
 * perplexities.
 */
export function lessIsBetter(metric: string): boolean {
  return /(loss|perplexity)$/i.test(metric);
}

/**
 * The best weights of a run without an output folder, in host memory. Other runs store them in a checkpoint.
 */
export interface HostWeights {
  store(trainable: Attachment['trainable']): Promise<void>;
  restore(trainable: Attachment['trainable']): void;
}

export function createHostWeights(): HostWeights {
  let stored = new Map<string, Float32Array>();
  return {
    async store(trainable) {
      const next = new Map<string, Float32Array>();
      for (const [name, variable] of trainable) next.set(name, (await variable.data()).slice() as Float32Array);
      stored = next;
    },
    restore(trainable) {
      for (const [name, variable] of trainable) {
        const values = stored.get(name);
        if (values === undefined) continue;
        const value: Tensor = tensor(values, variable.shape, 'float32');
        variable.assign(value);
        value.dispose();
      }
    },
  };
}

/** Restores the best weights, from their checkpoint if there is one, otherwise from host memory. */
export async function restoreBest(
  folder: string | null,
  host: HostWeights,
  model: LanguageModel,
  owner: Attachment,
): Promise<void> {
  if (folder === null) host.restore(owner.trainable);
  else await readTrained(folder, model, owner);
}
