import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { readTrained } from '../checkpoint/index.js';
import type { LanguageModel } from '../contract/model.js';
import type { Attachment } from '../contract/strategy.js';

/** Whether a metric is better when it is less: losses and perplexities, as transformers judges by the name. */
export function lessIsBetter(metric: string): boolean {
  return /(loss|perplexity)$/i.test(metric);
}

/**
 * The best weights of a run that writes nothing, in the host's memory. A run with a folder keeps them in a checkpoint.
 */
export interface HostWeights {
  keep(trainable: Attachment['trainable']): Promise<void>;
  restore(trainable: Attachment['trainable']): void;
}

export function createHostWeights(): HostWeights {
  let kept = new Map<string, Float32Array>();
  return {
    async keep(trainable) {
      const next = new Map<string, Float32Array>();
      for (const [name, variable] of trainable) next.set(name, (await variable.data()).slice() as Float32Array);
      kept = next;
    },
    restore(trainable) {
      for (const [name, variable] of trainable) {
        const values = kept.get(name);
        if (values === undefined) continue;
        const value: Tensor = tensor(values, variable.shape, 'float32');
        variable.assign(value);
        value.dispose();
      }
    },
  };
}

/** Puts the best weights back: from their checkpoint where there is one. */
export async function restoreBest(
  folder: string | null,
  host: HostWeights,
  model: LanguageModel,
  owner: Attachment,
): Promise<void> {
  if (folder === null) host.restore(owner.trainable);
  else await readTrained(folder, model, owner);
}
