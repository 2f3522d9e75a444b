import type { Template } from './template.js';

const typeOf = (name: string): string => `${name.replaceAll(/\W+/g, '_').toUpperCase()}_SCALES`;

export const strategy: Template = {
  description: 'Trains a factor for each output of some linear layers, and saves the factors as an adapter.',
  configuration: (use) => ({ strategy: { use, options: { targets: ['k_proj', 'v_proj'] } } }),
  source: ({ name, description }) => `«import type { Tensor, Variable } from '@tensorflow/tfjs-core';
»import { mul, ones, reshape, tidy, variable } from '@tensorflow/tfjs-core';
«import type { AdapterFiles, LanguageModel, LinearSite } from '@whetstone/core/contract';
»import { definePlugin, WhetstoneError } from '@whetstone/core/contract';

/** The type of the adapter in adapter_config.json. No other strategy may use it. */
const TYPE = '${typeOf(name)}';
const SUFFIX = '.output_scale';

/** Returns the linear layers whose path ends with one of the names. */
function findTargets(model«: LanguageModel», targets«: readonly string[]»)«: LinearSite[]» {
  const sites = [...model.linearSites.values()];
  const found = sites.filter(({ name }) => targets.some((target) => name.endsWith('.' + target)));
  if (found.length > 0) return found;
  throw new WhetstoneError('STRATEGY_TARGETS_NOTHING', 'No linear layer has one of these names.', {
    place: { path: 'strategy.options.targets' },
    expected: [...new Set(sites.map(({ name }) => name.replace(/^.*\\./, '')))].join(', '),
    found: targets.join(', '),
  });
}

/** Multiplies the outputs of layers by their factors. Returns a function that restores the layers. */
function attachScales(scales«: ReadonlyMap<LinearSite, Tensor>») {
  const undo = [...scales].map(([site, scale]) => site.wrap((base) => (input) => mul(base(input), scale)));
  return () => {
    for (const step of undo) step();
  };
}

/** Returns the factors of a stored adapter by layer. */
function storedScales(model«: LanguageModel», { tensors, folder }«: AdapterFiles») {
  const scales = new Map«<LinearSite, Tensor>»();
  for (const [key, scale] of tensors) {
    const site = key.endsWith(SUFFIX) ? model.linearSites.get(key.slice(0, -SUFFIX.length)) : undefined;
    if (site === undefined || scale.shape.join() !== String(site.outFeatures))
      throw new WhetstoneError('ADAPTER_INVALID', 'The adapter does not match the model.', {
        place: { file: folder, tensor: key },
        expected: site === undefined ? 'a linear layer of the model' : '[' + site.outFeatures + ']',
        found: '[' + scale.shape.join(', ') + ']',
      });
    scales.set(site, scale);
  }
  return scales;
}

export default definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: '${name}',
  version: '0.1.0',
  description: '${description}',
  configSchema: {
    type: 'object',
    additionalProperties: false,
    properties: {
      targets: {
        type: 'array',
        items: { type: 'string' },
        default: ['k_proj', 'v_proj'],
        description: 'Ends of the paths of the scaled layers.',
      },
    },
  },
  create: ({ targets }) => ({
    // An owner decides the trained parameters; a run has exactly one.
    role: 'owner',
    attach: (model, run) => {
      const scales = new Map«<LinearSite, Variable>»();
      for (const site of findTargets(model, targets)) {
        const start = ones([site.outFeatures]);
        scales.set(site, variable(start, true));
        start.dispose();
      }
      const detach = attachScales(scales);
      const trainable = new Map([...scales].map(([site, scale]) => [site.name + SUFFIX, scale]));
      return {
        trainable,
        exportAdapter: () => ({
          tensors: trainable,
          config: {
            peft_type: TYPE,
            task_type: 'CAUSAL_LM',
            base_model_name_or_path: run.modelFolder,
            target_modules: targets,
          },
        }),
        // The factors are all that a resumed run needs.
        saveState: () => ({ tensors: new Map(), values: null }),
        loadState: () => {},
        dispose: () => {
          detach();
          for (const scale of scales.values()) scale.dispose();
        },
      };
    },
  }),
  // Commands read and merge what the strategy exports.
  adapter: {
    peftTypes: [TYPE],
    load: (model, files) => {
      const scales = storedScales(model, files);
      return { attach: () => attachScales(scales), dispose: () => {} };
    },
    merge: (model, files) => {
      const weights = new Map«<string, Tensor>»();
      for (const [{ name, weight, bias, fanInFanOut }, scale] of storedScales(model, files)) {
        const scaled = tidy(() => mul(weight, fanInFanOut ? scale : reshape(scale, [-1, 1])));
        weights.set(name + '.weight', scaled);
        if (bias !== null) weights.set(name + '.bias', mul(bias, scale));
      }
      return weights;
    },
  },
});
`,
  test: () => `import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import { createRandomModel } from '@whetstone/models';
import { describeStrategy } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import plugin from './index.js';

beforeAll(() => setBackend('cpu'));

const config = {
  model_type: 'llama',
  vocab_size: 24,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.3,
};

// Registers the conformance suite of strategies, for each set of options.
describeStrategy(plugin, {
  model: () => createRandomModel(config, 5),
  options: { 'keys and values': {}, queries: { targets: ['q_proj'] } },
  badOptions: { 'a layer that does not exist': { targets: ['wq'] }, 'an unknown key': { target: ['q_proj'] } },
});
`,
};
