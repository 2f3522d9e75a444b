import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { setBackend } from '@tensorflow/tfjs-core';
import { createRandomModel } from '@whetstone/models';
import { loadAdapter, mergeAdapter } from '@whetstone/strategies';
import { describeStrategy } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import { loraFa } from './index.js';

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

// The conformance suite for strategies. Loading and merging prove that the saved adapter is plain LoRA.
describeStrategy(loraFa, {
  model: () => createRandomModel(config, 5),
  seeded: true,
  load: loadAdapter,
  merge: async (model, adapter) => (await mergeAdapter(model, adapter)).weights,
  options: { 'all linear layers': { rank: 2 }, 'a few': { rank: 3, alpha: 3, targetModules: ['q_proj', 'down_proj'] } },
  badOptions: {
    'rank 0': { rank: 0 },
    'a target that matches nothing': { targetModules: ['wq'] },
    'an unknown key': { ranks: 2 },
  },
});
