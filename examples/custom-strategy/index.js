// @ts-check
import { add, keep, matMul, mul, randomUniform, scalar, variable, zeros } from '@tensorflow/tfjs-core';
import { definePlugin, WhetstoneError } from '@whetstone/core/contract';

/**
 * @import {
 *   Attachment,
 *   LanguageModel,
 *   LinearSite,
 *   StrategyRun
 * } from '@whetstone/core/contract'
 */
/**
 * @import {
 *   Tensor,
 *   Tensor2D,
 *   Variable
 * } from '@tensorflow/tfjs-core'
 */
/** @typedef {{ readonly rank: number; readonly alpha: number; readonly targetModules: readonly string[] }} Options */

/**
 * Returns the linear layers whose path ends with one of the names; without names, all but the output layer.
 *
 * @param {LanguageModel} model @param {readonly string[]} names @returns {LinearSite[]}
 */
function findTargets(model, names) {
  const sites = [...model.linearSites.values()];
  const targets = sites.filter(({ name, isOutput }) =>
    names.length === 0 ? !isOutput : names.some((end) => name === end || name.endsWith(`.${end}`)),
  );
  if (targets.length > 0) return targets;
  throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'No linear layer has one of these names.', {
    place: { path: 'strategy.options.targetModules' },
    expected: [...new Set(sites.map(({ name }) => name.replace(/^.*\./, '')))].join(', '),
    found: names.join(', '),
  });
}

/**
 * Returns a variable with the tensor's values, and disposes the tensor.
 *
 * @param {Tensor} initial @param {boolean} trainable @returns {Variable}
 */
function own(initial, trainable) {
  const made = variable(initial, trainable);
  initial.dispose();
  return made;
}

/** tfjs-core's types do not distinguish matrices from other variables. @param {Tensor} tensor */
const matrix = (tensor) => /** @type {Tensor2D} */ (tensor);

/**
 * Adds B·A to every target. A has random values and is frozen; B starts at zero, so that training starts from the base
 * model.
 *
 * @param {LanguageModel} model @param {Options} options @param {StrategyRun} run @returns {Attachment}
 */
function attach(model, { rank, alpha, targetModules }, run) {
  const targets = findTargets(model, targetModules);
  const scale = keep(scalar(alpha / rank));
  /** @type {Map<string, Variable>} */
  const trainable = new Map();
  /** @type {Map<string, Variable>} */
  const frozen = new Map();
  const takeOff = targets.map((site, index) => {
    const bound = 1 / Math.sqrt(site.inFeatures);
    const a = own(randomUniform([rank, site.inFeatures], -bound, bound, 'float32', run.seed + index), false);
    const b = own(zeros([site.outFeatures, rank]), true);
    const key = `base_model.model.${site.name}`;
    frozen.set(`${key}.lora_A.weight`, a);
    trainable.set(`${key}.lora_B.weight`, b);
    return site.wrap(
      (base) => (input) =>
        add(base(input), matMul(mul(matMul(input, matrix(a), false, true), scale), matrix(b), false, true)),
    );
  });
  return {
    trainable,
    // The optimizer does not update A, but a resumed run needs the same values.
    saveState: () => ({ tensors: frozen, values: null }),
    loadState: ({ tensors }) => {
      for (const [name, a] of frozen) {
        const saved = tensors.get(name);
        if (saved?.shape.join() !== a.shape.join())
          throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint lacks a frozen matrix of this shape.', {
            place: { tensor: name },
          });
        a.assign(saved);
      }
    },
    // The saved adapter is plain LoRA: it loads in PEFT and in `whetstone chat --adapter`.
    exportAdapter: () => ({
      tensors: new Map([...frozen, ...trainable]),
      config: {
        base_model_name_or_path: run.modelFolder,
        bias: 'none',
        fan_in_fan_out: targets.some((site) => site.fanInFanOut),
        inference_mode: true,
        lora_alpha: alpha,
        lora_dropout: 0,
        peft_type: 'LORA',
        r: rank,
        target_modules: targets.map(({ name }) => name),
        task_type: 'CAUSAL_LM',
        use_dora: false,
        use_rslora: false,
      },
    }),
    dispose: () => {
      for (const off of takeOff) off();
      for (const tensor of [scale, ...frozen.values(), ...trainable.values()]) tensor.dispose();
    },
  };
}

/** LoRA-FA (Zhang et al. 2023): A is random and frozen, only B is trained. */
export const loraFa = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'lora-fa',
  version: '1.0.0',
  description: 'LoRA with frozen A: half the trained parameters, and no gradient for A.',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      rank: { type: 'integer', minimum: 1, default: 8, description: 'Rank of the update B·A.' },
      alpha: { type: 'number', exclusiveMinimum: 0, default: 16, description: 'The update is scaled by alpha / rank.' },
      targetModules: {
        type: 'array',
        items: { type: 'string' },
        default: [],
        description: 'Names of linear layers; empty: all of them.',
      },
    },
  },
  create: ({ rank, alpha, targetModules }) => ({
    role: 'owner',
    attach: (model, run) => attach(model, { rank, alpha, targetModules }, run),
  }),
});

export default loraFa;
