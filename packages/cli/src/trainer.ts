import {
  later,
  Trainer as CoreTrainer,
  type ConfigDefaults,
  type SharedModules,
  type TrainerOptions,
} from '@whetstone/core';
import { builtInPlugins, builtInServices } from './built-ins.js';
import type { TrainerConfig } from './config-types.js';
import { importedNames } from './imported-names.js';

/**
 * The default callbacks and loggers of a configuration: TRL's gradient clipping, and a log of all metrics.
 */
export const configDefaults: ConfigDefaults = {
  callbacks: [{ use: 'gradient-clipping', options: { maxNorm: 1 } }],
  loggers: [{ use: 'metrics-jsonl', options: {} }],
  dataSource: 'conversations',
  importedNames,
};

/** Modules of which an application has one instance. */
const SHARED_MODULES = [
  '@tensorflow/tfjs-core',
  '@whetstone/core',
  '@whetstone/core/contract',
  '@whetstone/core/ops',
  '@whetstone/core/random',
  '@whetstone/models',
  '@whetstone/strategies',
  'whetstone',
];

/** The modules that local plugin files share. Imported by name because this module is itself part of `whetstone`. */
export const sharedModules: SharedModules = Object.fromEntries(
  SHARED_MODULES.map((name) => [name, later(() => import(/* @vite-ignore */ name))]),
);

/** Adds the built-in plugins and services to the options of core's Trainer. The caller's own come first. */
function withBuiltIns(options: TrainerOptions = {}): TrainerOptions {
  return {
    ...options,
    plugins: [...builtInPlugins, ...(options.plugins ?? [])],
    services: [...builtInServices, ...(options.services ?? [])],
    defaults: { ...configDefaults, ...options.defaults },
    sharedModules: { ...sharedModules, ...options.sharedModules },
  };
}

/**
 * Returns the configuration unchanged, so that editors complete and check its keys:
 *
 * ```ts
 * export default defineConfig({ model: 'smollm2-135m', data: { train: 'train.jsonl' }, strategy: 'lora' });
 * ```
 */
export const defineConfig = (config: TrainerConfig): TrainerConfig => config;

/**
 * Returns a configuration that the compiler does not check, for example one that a program read from JSON. It is
 * validated when a run starts, like all others.
 */
export const untypedConfig = (config: object): TrainerConfig => config as TrainerConfig;

/** Core's Trainer with all built-in plugins and services. */
export class Trainer extends CoreTrainer {
  /** @param config a configuration, or the path of a file that holds one: JSON, TypeScript or JavaScript */
  constructor(config: string | TrainerConfig, options: TrainerOptions = {}) {
    super(config, withBuiltIns(options));
  }
}
