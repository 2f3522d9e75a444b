// @ts-check
import { clone } from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError } from '@whetstone/core/contract';

/**
 * @import {
 *   AdapterFiles,
 *   Attachment,
 *   LanguageModel,
 *   StrategyRun
 * } from '@whetstone/core/contract'
 */
/**
 * @import {
 *   Tensor,
 *   Variable
 * } from '@tensorflow/tfjs-core'
 */

const TYPE = 'LN_TUNING';
const PREFIX = 'base_model.model.';
/** The end of a key in the file of an adapter, such as `base_model.model.model.norm.ln_tuning_layers.weight`. */
const KEY_END = /\.ln_tuning_layers\.(weight|bias)$/;

/** Returns the key of a norm in the file of an adapter. @param {string} name for example `model.norm.weight` */
const keyOf = (name) => `${PREFIX}${name.replace(/\.(weight|bias)$/, '.ln_tuning_layers.$1')}`;

/**
 * Returns the weights and biases of the norms whose module has one of the names; without names, of all norms.
 *
 * @param {ReadonlyMap<string, { readonly shape: readonly number[] }>} parameters @param {readonly string[]} names
 * @returns {string[]}
 */
function findNorms(parameters, names) {
  const norms = [...parameters.keys()].filter((name) => /(?:norm|ln_\w+)\.(?:weight|bias)$/.test(name));
  const modules = [...new Set(norms.map((name) => name.split('.').at(-2) ?? ''))];
  const unknown = names.filter((name) => !modules.includes(name));
  if (norms.length === 0 || unknown.length > 0)
    throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'The model has no norm of this name.', {
      place: { path: 'strategy.options.targetModules' },
      expected: modules.join(', ') || 'a model with norms',
      found: unknown.join(', ') || 'no norm',
    });
  return norms.filter((name) => names.length === 0 || names.includes(name.split('.').at(-2) ?? ''));
}

/**
 * Trains the norms of the model themselves. Copies of their values restore the base model.
 *
 * @param {LanguageModel} model @param {readonly string[]} names @param {StrategyRun} run @returns {Attachment}
 */
function attach(model, names, run) {
  const norms = findNorms(model.parameters, names);
  /** @type {Map<string, Variable>} */
  const trainable = new Map();
  /** @type {Map<Variable, Tensor>} */
  const base = new Map();
  for (const name of norms) {
    const norm = /** @type {Variable} */ (model.parameters.get(name));
    norm.trainable = true;
    base.set(norm, clone(norm));
    trainable.set(keyOf(name), norm);
  }
  let isMerged = false;
  return {
    trainable,
    exportAdapter: () => ({
      tensors: trainable,
      config: {
        base_model_name_or_path: run.modelFolder,
        inference_mode: true,
        modules_to_save: null,
        peft_type: TYPE,
        target_modules: [...new Set(norms.map((name) => name.split('.').at(-2) ?? ''))],
        task_type: 'CAUSAL_LM',
      },
    }),
    merge: () => {
      isMerged = true;
    },
    // The trained values are all that a resumed run needs.
    saveState: () => ({ tensors: new Map(), values: null }),
    loadState: () => {},
    dispose: () => {
      for (const [norm, value] of base) {
        norm.trainable = false;
        if (!isMerged) norm.assign(value);
        value.dispose();
      }
    },
  };
}

/**
 * Returns the stored values by the names of the parameters that they replace.
 *
 * @param {LanguageModel} model @param {AdapterFiles} files @returns {Map<string, Tensor>}
 */
function storedNorms(model, files) {
  const stored = new Map();
  const problems = [];
  for (const [key, value] of files.tensors) {
    const name = key.slice(PREFIX.length).replace(KEY_END, '.$1');
    const shape = KEY_END.test(key) ? model.parameters.get(name)?.shape : undefined;
    if (shape?.join() === value.shape.join()) stored.set(name, value);
    else
      problems.push({
        message: 'A tensor belongs to no norm of the model.',
        place: { tensor: key },
        expected: shape === undefined ? 'a norm of the model' : `[${shape.join(', ')}]`,
        found: `[${value.shape.join(', ')}]`,
      });
  }
  if (problems.length === 0) return stored;
  throw new WhetstoneError('ADAPTER_INVALID', 'The adapter does not match the model.', {
    place: { file: files.folder },
    problems,
  });
}

/** LN tuning (Zhao et al. 2024): trains the norms of a model, and saves them as an adapter. */
export const lnTuning = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'ln-tuning',
  version: '1.0.0',
  description: 'Trains the norms of a model, and saves them as an adapter that PEFT loads.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      targetModules: {
        type: 'array',
        items: { type: 'string' },
        default: [],
        description: 'Names of norms, such as input_layernorm; empty: all of them.',
      },
    },
  },
  create: ({ targetModules }) => ({
    role: 'owner',
    plan: ({ parameters }) => ({
      trainable: new Map(
        findNorms(parameters, targetModules).map((name) => [keyOf(name), parameters.get(name)?.shape ?? []]),
      ),
    }),
    attach: (model, run) => attach(model, targetModules, run),
  }),
  // No built-in strategy reads this type.
  adapter: {
    peftTypes: [TYPE],
    load: (model, files) => {
      const stored = storedNorms(model, files);
      return {
        attach: () => {
          const undo = [...stored].map(([name, value]) => {
            const norm = /** @type {Variable} */ (model.parameters.get(name));
            const base = clone(norm);
            norm.assign(value);
            return () => {
              norm.assign(base);
              base.dispose();
            };
          });
          return () => {
            for (const step of undo) step();
          };
        },
        dispose: () => {},
      };
    },
    merge: (model, files) => new Map([...storedNorms(model, files)].map(([name, value]) => [name, clone(value)])),
  },
});

export default lnTuning;
