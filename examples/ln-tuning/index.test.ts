import '@tensorflow/tfjs-backend-cpu';
import '@whetstone/core/tfjs-gradients';
import { setBackend } from '@tensorflow/tfjs-core';
import { createRandomModel } from '@whetstone/models';
import { describeStrategy } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import { lnTuning } from './index.js';

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

describeStrategy(lnTuning, {
  model: () => createRandomModel(config, 5),
  options: { 'every norm': {}, 'the norm before the output layer': { targetModules: ['norm'] } },
  badOptions: { 'a norm that does not exist': { targetModules: ['ln_1'] }, 'an unknown key': { rank: 2 } },
});
