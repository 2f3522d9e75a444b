import * as core from '@whetstone/core';
import * as contract from '@whetstone/core/contract';
import * as tfjs from '@tensorflow/tfjs-core';
import { builtInPlugins, builtInServices } from './built-ins.js';

/**
 * What a configuration means where it is silent about callbacks and loggers: TRL's gradient clipping, and a log of all
 * metrics.
 */
export const configDefaults: core.ConfigDefaults = {
  callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }],
  loggers: [{ use: 'metrics-jsonl', options: {} }],
  dataSource: 'conversations',
  importedNames: {
    max_grad_norm: (value) => ({
      path: 'callbacks+',
      value: { use: 'gradient-clipping', options: { maxNorm: value } },
    }),
    early_stopping_patience: (value) => ({
      path: 'callbacks+',
      value: { use: 'early-stopping', options: { patience: value } },
    }),
  },
};

/** Local plugin files get these modules from the running program, so that there is one instance of each. */
const sharedModules: core.SharedModules = {
  '@whetstone/core': core,
  '@whetstone/core/contract': contract,
  '@tensorflow/tfjs-core': tfjs,
  '@whetstone/core/ops': core.later(() => import('@whetstone/core/ops')),
  '@whetstone/core/random': core.later(() => import('@whetstone/core/random')),
  '@whetstone/models': core.later(() => import('@whetstone/models')),
  '@whetstone/strategies': core.later(() => import('@whetstone/strategies')),
  whetstone: core.later(() => import('./index.js')),
};

/** The options of core's Trainer, with everything that is built in behind what the caller gives. */
export function withBuiltIns(options: core.TrainerOptions = {}): core.TrainerOptions {
  return {
    ...options,
    plugins: [...builtInPlugins, ...(options.plugins ?? [])],
    services: [...builtInServices, ...(options.services ?? [])],
    defaults: { ...configDefaults, ...options.defaults },
    sharedModules: { ...sharedModules, ...options.sharedModules },
  };
}

/** Core's Trainer with all built-in plugins and services: only what its constructor is given differs. */
export class Trainer extends core.Trainer {
  /** @param config a configuration, or the path of a file that holds one */
  constructor(config: string | object, options: core.TrainerOptions = {}) {
    super(config, withBuiltIns(options));
  }
}
