import { tidy, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { finiteProblem } from '../checkpoint/attachment-contents.js';
import { assignStored } from '../checkpoint/index.js';
import { isWhetstoneError, WhetstoneError } from '../contract/errors.js';
import type { Attachment } from '../contract/strategy.js';
import { finiteProbe } from '../ops/optimizer.js';
import { describeFound, isTensorLike, messageOf } from '../util/index.js';
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
  keepInModel(): Promise<void>;
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
  if (provider === null)
    return { current: () => new Map(), during: (use) => use(), keepInModel: async () => undefined };
  const current = (): ReadonlyMap<string, Tensor> => checkedWeights(provider, owner.trainable);
  return {
    current,
    async during(use) {
      const restore: (() => void)[] = [];
      try {
        const provided = await finiteWeights(provider, current());
        for (const [name, value] of provided) restore.push(replaceValue(owner.trainable.get(name) as Variable, value));
        return await use();
      } finally {
        for (const each of restore) each();
      }
    },
    async keepInModel() {
      for (const [name, value] of await finiteWeights(provider, current())) {
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

const failed = (plugin: string, cause: unknown): WhetstoneError =>
  new WhetstoneError('PLUGIN_FAILED', `evaluationWeights of '${plugin}' failed: ${messageOf(cause)}`, {
    details: { plugin },
    cause,
  });

/**
 * Returns the provider's weights, if all of them are finite. One pass on the device decides it.
 *
 * @throws `PLUGIN_FAILED` that names the first weight that is not finite
 */
async function finiteWeights(
  { plugin }: Provider,
  provided: ReadonlyMap<string, Tensor>,
): Promise<ReadonlyMap<string, Tensor>> {
  if (provided.size === 0) return provided;
  const probe = tidy(() => finiteProbe(provided.values()));
  const [sum] = await probe.data();
  probe.dispose();
  if (Number.isFinite(sum)) return provided;
  for (const [name, value] of provided) {
    const problem = finiteProblem(name, await value.data(), 'evaluationWeights()');
    if (problem !== null) throw failed(plugin, new TypeError(`'${name}' is not finite (${problem.found})`));
  }
  // Finite numbers whose sum overflows.
  return provided;
}

/**
 * Returns the provider's weights.
 *
 * @throws `PLUGIN_FAILED` if it throws, or returns something else than a Map of float32 tensors, a weight that is not
 *   trained or a wrong shape
 */
function checkedWeights(
  { plugin, weights }: Provider,
  trainable: Attachment['trainable'],
): ReadonlyMap<string, Tensor> {
  try {
    const provided: unknown = weights();
    if (!(provided instanceof Map)) throw new TypeError(`it returned ${describeFound(provided)} instead of a Map`);
    for (const [name, value] of provided as ReadonlyMap<string, unknown>) {
      const expected = trainable.get(name)?.shape;
      if (expected === undefined) throw new TypeError(`the parameter '${name}' is not trained`);
      if (!isTensorLike(value) || value.isDisposed || value.dtype !== 'float32')
        throw new TypeError(`'${name}' is ${describeFound(value)} instead of a float32 tensor`);
      const { shape } = value;
      if (expected.join() !== shape.join())
        throw new TypeError(`'${name}' has the shape [${shape.join(', ')}] instead of [${expected.join(', ')}]`);
    }
    return provided as ReadonlyMap<string, Tensor>;
  } catch (cause) {
    if (isWhetstoneError(cause)) throw cause;
    throw failed(plugin, cause);
  }
}
