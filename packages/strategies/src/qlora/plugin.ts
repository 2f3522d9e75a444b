import { resolve } from 'node:path';
import { definePlugin, WhetstoneError } from '@whetstone/core/contract';
import { setOptions } from '../support/set-options.js';
import { configSchema } from './options.js';

/** The strategy `qlora`: low-rank adapters of a quantised base (Dettmers et al. 2023). */
export const qlora = definePlugin({
  apiVersion: 2,
  kind: 'strategy',
  name: 'qlora',
  description: 'Trains low-rank adapters of a base in 4 or 8 bits (NF4, FP4, int8); saved as a PEFT folder.',
  configSchema,
  create: async ({ blockSize, adapter, ...options }, { baseFolder, isSet }) => {
    if (blockSize !== 64)
      throw new WhetstoneError('CONFIG_INVALID', 'Only blocks of 64 values are supported.', {
        place: { path: 'strategy.options.blockSize' },
        found: String(blockSize),
      });
    const { qloraStrategy } = await import('./qlora.js');
    return qloraStrategy({
      ...setOptions(options, { isSet }),
      adapter: adapter === null ? null : resolve(baseFolder, adapter),
    });
  },
});
