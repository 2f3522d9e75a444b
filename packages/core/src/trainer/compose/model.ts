import type { ResolvedConfig } from '../../config/types.js';
import {
  CLOCK,
  LOADED_MODEL,
  MODEL_LOADER,
  MODEL_OUTLINE,
  defineToken,
  type Json,
  type LoadedModel,
  type ModelLoader,
  type Strategy,
  type TensorBackendInfo,
  type Token,
  type WeightStorage,
} from '../../contract/index.js';
import { stopTokensOf } from '../../files/index.js';
import { provideFactory, type RunServices, type ServiceRegistration } from '../../container.js';
import { savedTemplateTime } from '../output-folder.js';
import { naming } from '../../memory/index.js';
import { float32StorageWarning } from '../float32-storage.js';
import { RUN_CLUSTER } from './cluster.js';
import { RUN_LOGGER, throwIfAborted, type RunContext } from './context.js';
import { PLUGINS } from './plugins.js';
import { STRATEGIES } from './strategies.js';

/** The loader of the run: the plugin of `model.use`, or the service `MODEL_LOADER`. */
const RUN_MODEL_LOADER: Token<ModelLoader> = defineToken('RUN_MODEL_LOADER');

/** The time that the chat template writes: one for all processes, all stages and all attempts of a run. */
export const TEMPLATE_TIME: Token<Date> = defineToken('TEMPLATE_TIME');

/** Registers the model, its outline, and the time of its template. */
export const modelServices = ({ resolution: { config } }: RunContext): readonly ServiceRegistration[] => {
  const { use, options, path } = config.model;
  const folder = path ?? config.baseFolder;
  return [
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
    provideFactory(
      TEMPLATE_TIME,
      async (services) => {
        const saved = await savedTemplateTime(config);
        const own = saved?.toISOString() ?? (await services.resolve(CLOCK)).timestamp();
        const [time = own] = await (await services.resolve(RUN_CLUSTER)).gather('the time of the run', own);
        return new Date(time);
      },
      () => undefined,
    ),
    provideFactory(LOADED_MODEL, async (services) => {
      const { owner } = await services.resolve(STRATEGIES);
      const loader = await services.resolve(RUN_MODEL_LOADER);
      return loader.load(folder, {
        chatTemplatePath: config.chatTemplatePath,
        templateTime: await services.resolve(TEMPLATE_TIME),
        storage: storageOf(config.model.dtype, owner.instance),
        addTokens: config.model.addTokens,
      });
    }),
  ];
};

/**
 * Loads the model of a run.
 *
 * @param useModel receives the model as soon as it is loaded, and disposes it if the run created it. By default, the
 *   model is disposed with the services
 */
export async function composeModel(
  context: RunContext,
  services: RunServices,
  backend: TensorBackendInfo,
  useModel?: (loaded: LoadedModel, isOurs: boolean) => void,
): Promise<LoadedModel> {
  const loaded = await naming(
    () => 'Loading the model',
    () => services.resolve(LOADED_MODEL),
  );
  const isOurs = services.release(LOADED_MODEL);
  if (useModel !== undefined) useModel(loaded, isOurs);
  else if (isOurs) services.onDispose(() => loaded.model.dispose());
  const warning = float32StorageWarning(loaded.model, backend.backend);
  for (const notice of loaded.notices ?? []) services.get(RUN_LOGGER).warn(notice);
  if (warning !== null) services.get(RUN_LOGGER).warn(warning);
  for (const notice of knownTokens(loaded, context.resolution.config)) services.get(RUN_LOGGER).warn(notice);
  const stops = await unlistedStops(loaded);
  if (stops !== null) services.get(RUN_LOGGER).warn(stops);
  throwIfAborted(context);
  return loaded;
}

/** Returns a warning for each token of `model.addTokens` that the model already has. */
function knownTokens(
  { model: { addedTokens }, tokenizer }: LoadedModel,
  { model }: Pick<ResolvedConfig, 'model'>,
): readonly string[] {
  return model.addTokens.flatMap((token, index) => {
    const id = tokenizer.tokenId(token);
    if (id === undefined || (addedTokens.includes(id) && model.addTokens.indexOf(token) === index)) return [];
    return [`model.addTokens[${index}] has no effect: the model already has the token ${JSON.stringify(token)}.`];
  });
}

/** Returns a warning if no stop list of the model contains a token that ends the assistant's turns; null otherwise. */
async function unlistedStops(loaded: LoadedModel): Promise<string | null> {
  const { unlisted } = await stopTokensOf(loaded);
  if (unlisted.length === 0) return null;
  const tokens = unlisted.map((id) => `${loaded.tokenizer.decode([id])} (token ${id})`).join(' and ');
  return (
    `The assistant's turns end with ${tokens}, which is in no stop list of the model: neither in eos_token_id of ` +
    'generation_config.json, or of config.json without that file, nor as the end token of the tokenizer. The ' +
    'exported folder lists it in generation_config.json; other programs need that file, or the token as a stop token.'
  );
}

/** Returns the storage of each weight: the owner's choice, or that of the configuration. */
function storageOf(dtype: ResolvedConfig['model']['dtype'], owner: Strategy): WeightStorage {
  const configured = dtype === 'float32' ? null : dtype === 'auto' ? 'stored' : dtype;
  return (weight) => owner.storage?.(weight) ?? configured;
}
