import { clone, mul, tidy, variable, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import {
  defaultsOf,
  WhetstoneError,
  type LanguageModel,
  type SavedState,
  type Strategy,
} from '@whetstone/core/contract';
import { constant, storeBfloat16 } from '@whetstone/core/ops';
import { unfreeze } from '../support/unfreeze.js';
import { configSchema, type FullOptions } from './options.js';

/** float32 copies of the parameters. They accumulate updates that are too small for bfloat16. */
interface Masters {
  readonly variables: ReadonlyMap<string, Variable>;
  /** Writes the masters, rounded to bfloat16, to the parameters. */
  round(): void;
  saveState(): SavedState;
  loadState(state: SavedState): void;
  /** Writes the float32 values to the parameters and releases the masters. */
  dispose(): void;
}

/** Creates the float32 masters of a model. */
function createMasters(model: LanguageModel): Masters {
  const variables = new Map(
    [...model.parameters].map(([name, parameter]) => {
      // The product is a float32 copy, also of a parameter that is stored in fewer bytes.
      const values = tidy(() => mul(parameter, constant(1)));
      const master = variable(values, false);
      values.dispose();
      return [name, master as Variable] as const;
    }),
  );
  const round = (): void => {
    for (const [name, parameter] of model.parameters) {
      const master = variables.get(name);
      if (master === undefined) continue;
      const rounded = storeBfloat16(master);
      parameter.assign(rounded);
      rounded.dispose();
    }
  };
  round();
  return {
    variables,
    round,
    saveState: () => ({ tensors: new Map<string, Tensor>(variables), values: null }),
    loadState: ({ tensors }) => {
      for (const [name, master] of variables) {
        const saved = tensors.get(name);
        if (saved === undefined)
          throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks the float32 master of a weight.', {
            place: { tensor: name },
            hint: 'The checkpoint was written without `weights: "bfloat16"`. Resume with the original options.',
          });
        const copy = clone(saved);
        master.assign(copy);
        copy.dispose();
      }
      round();
    },
    dispose: () => {
      for (const [name, master] of variables) {
        model.parameters.get(name)?.assign(master);
        master.dispose();
      }
    },
  };
}

/** Creates the strategy `full`, which trains all parameters of the model. A tied head is trained as the embedding. */
export function fullStrategy(options: Partial<FullOptions> = {}): Strategy {
  const { weights } = { ...defaultsOf(configSchema), ...options };
  return {
    role: 'owner',
    plan: ({ parameters }) => ({ trainable: new Map([...parameters].map(([name, { shape }]) => [name, shape])) }),
    attach: (model: LanguageModel) => {
      const freeze = unfreeze(model.parameters.values());
      const masters = weights === 'bfloat16' ? createMasters(model) : null;
      return {
        trainable: new Map(model.parameters),
        masters: masters?.variables,
        savedAs: weights,
        afterUpdate: masters?.round,
        effectiveWeights: () =>
          new Map([...model.parameters].map(([name, parameter]) => [name, { site: null, weight: () => parameter }])),
        saveState: () => masters?.saveState() ?? { tensors: new Map(), values: null },
        loadState: (state) => masters?.loadState(state),
        dispose: () => {
          masters?.dispose();
          freeze();
        },
      };
    },
  };
}
