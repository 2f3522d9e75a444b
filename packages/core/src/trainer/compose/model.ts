import type { ResolvedConfig } from '../../config/types.js';
import {
  LOADED_MODEL,
  MODEL_LOADER,
  MODEL_OUTLINE,
  defineToken,
  type Json,
  type ModelLoader,
  type Strategy,
  type Token,
  type WeightStorage,
} from '../../contract/index.js';
import { provideFactory, type ServiceRegistration } from '../../container.js';
import type { RunContext } from './context.js';
import { PLUGINS } from './plugins.js';
import { createStrategies, type RunStrategies } from './strategies.js';

/** The loader of the run: the plugin of `model.use`, or the service `MODEL_LOADER`. */
const RUN_MODEL_LOADER: Token<ModelLoader> = defineToken('RUN_MODEL_LOADER');
/** The strategies of the run. The owner decides how weights are stored. */
export const STRATEGIES: Token<RunStrategies> = defineToken('STRATEGIES');

/** Registers the strategies, and the model with its outline. */
export const modelServices = ({ resolution: { config } }: RunContext): readonly ServiceRegistration[] => {
  const { use, options, path } = config.model;
  const folder = path ?? config.baseFolder;
  return [
    provideFactory(STRATEGIES, async (services) => createStrategies(config, await services.resolve(PLUGINS))),
    provideFactory(
      RUN_MODEL_LOADER,
      async (services) =>
        use === null
          ? services.resolve(MODEL_LOADER)
          : (await services.resolve(PLUGINS)).create('model', { use, options: options as Record<string, Json> }, [
              'model',
              'options',
            ]),
      () => undefined,
    ),
    provideFactory(
      MODEL_OUTLINE,
      async (services) => (await (await services.resolve(RUN_MODEL_LOADER)).outline?.(folder)) ?? null,
      () => undefined,
    ),
    provideFactory(LOADED_MODEL, async (services) => {
      const { owner } = await services.resolve(STRATEGIES);
      const loader = await services.resolve(RUN_MODEL_LOADER);
      return loader.load(folder, {
        chatTemplatePath: config.chatTemplatePath,
        storage: storageOf(config.model.dtype, owner.instance),
        addTokens: config.model.addTokens,
      });
    }),
  ];
};

/** Returns the storage of each weight: the owner's choice, or that of the configuration. */
function storageOf(dtype: ResolvedConfig['model']['dtype'], owner: Strategy): WeightStorage {
  const configured = dtype === 'float32' ? null : dtype === 'auto' ? 'stored' : dtype;
  return (weight) => owner.storage?.(weight) ?? configured;
}
