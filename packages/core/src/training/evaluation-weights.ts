import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { assignStored } from '../checkpoint/index.js';
import { isWhetstoneError, WhetstoneError } from '../contract/errors.js';
import type { Attachment } from '../contract/strategy.js';
import { messageOf } from '../util/index.js';
import type { TrainRun } from './train-run.js';

/**
 * The weights with which a model is evaluated, sampled and exported, if an optimizer or callback provides other ones
 * than it trains. Without a provider, nothing happens.
 */
export interface EvaluationWeights {
  /** Returns the evaluation weights by parameter name. Empty without a provider. The provider owns them. */
  current(): ReadonlyMap<string, Tensor>;
  /**
   * Returns the result of `use`, which is called with the evaluation weights in the model. The training weights are put
   * back in any case. No weight is copied, unless the parameter is stored as bfloat16.
   */
  during<T>(use: () => Promise<T>): Promise<T>;
  /** Puts the evaluation weights into the model when training is over. */
  keepInModel(): void;
}

interface Provider {
  readonly plugin: string;
  weights(): ReadonlyMap<string, Tensor>;
}

/**
 * Returns the optimizer or callback that provides evaluation weights, or null.
 *
 * @throws `CONFIG_CONFLICT` if there are several
 */
export function findProvider({ optimizer, hooks }: Pick<TrainRun, 'optimizer' | 'hooks'>): Provider | null {
  const { plugin, instance } = optimizer;
  const ofOptimizer =
    instance.evaluationWeights === undefined
      ? []
      : [{ plugin, weights: () => instance.evaluationWeights?.() ?? new Map<string, Tensor>() }];
  const [provider, other] = [...ofOptimizer, ...hooks.evaluationWeights];
  if (provider === undefined || other === undefined) return provider ?? null;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `'${provider.plugin}' and '${other.plugin}' both provide the weights for evaluation. Only one can.`,
    { hint: 'Remove one of them.', details: { plugins: [provider.plugin, other.plugin] } },
  );
}

export function createEvaluationWeights(
  provider: Provider | null,
  owner: Pick<Attachment, 'trainable' | 'masters'>,
): EvaluationWeights {
  if (provider === null) return { current: () => new Map(), during: (use) => use(), keepInModel: () => undefined };
  const current = (): ReadonlyMap<string, Tensor> => checkedWeights(provider, owner.trainable);
  return {
    current,
    async during(use) {
      const restore: (() => void)[] = [];
      try {
        for (const [name, value] of current()) restore.push(replaceValue(owner.trainable.get(name) as Variable, value));
        return await use();
      } finally {
        for (const each of restore) each();
      }
    },
    keepInModel() {
      for (const [name, value] of current()) {
        owner.masters?.get(name)?.assign(value);
        assignStored(owner.trainable.get(name) as Variable, value);
      }
    },
  };
}

/** Assigns a value to a variable. Returns a function that restores the previous value, which was not copied. */
function replaceValue(variable: Variable, value: Tensor): () => void {
  const before = variable.clone();
  assignStored(variable, value);
  return () => {
    variable.assign(before as Tensor<typeof variable.rankType>);
    before.dispose();
  };
}

/**
 * Returns the provider's weights.
 *
 * @throws `PLUGIN_FAILED` if it throws, or returns a weight that is not trained or has a wrong shape
 */
function checkedWeights(
  { plugin, weights }: Provider,
  trainable: Attachment['trainable'],
): ReadonlyMap<string, Tensor> {
  try {
    const provided = weights();
    for (const [name, { shape }] of provided) {
      const expected = trainable.get(name)?.shape;
      if (expected === undefined) throw new TypeError(`the parameter '${name}' is not trained`);
      if (expected.join() !== shape.join())
        throw new TypeError(`'${name}' has the shape [${shape.join(', ')}] instead of [${expected.join(', ')}]`);
    }
    return provided;
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('PLUGIN_FAILED', `evaluationWeights of '${plugin}' failed: ${messageOf(cause)}`, {
      details: { plugin },
      cause,
    });
  }
}
