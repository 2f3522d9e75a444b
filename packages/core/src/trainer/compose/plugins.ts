import type { Path } from '../../config/paths.js';
import type { FlatPluginUse, PluginUse } from '../../config/types.js';
import {
  LOADED_MODEL,
  LOGGER,
  LOGGERS,
  LOSS_METERS,
  METRICS,
  OPTIMIZER,
  RANDOM,
  SCHEDULE,
  TENSOR_BACKEND,
  TEXT_GENERATORS,
  defineToken,
  type LoadedModel,
  type LossMeter,
  type Plugin,
  type PluginContext,
  type PluginInstances,
  type PluginKind,
  type TensorBackendInfo,
  type Token,
} from '../../contract/index.js';
import { provideFactory, type ServiceRegistration, type Services } from '../../container.js';
import type { Named } from '../../training/named.js';
import { createPluginMaker, type PluginMaker } from '../create-plugin.js';
import { RUN_CLUSTER } from './cluster.js';
import type { RunContext } from './context.js';

type OpenLossMeter = (model: string | LoadedModel, backend: TensorBackendInfo) => Promise<LossMeter>;

/** Creates the plugins that the configuration selects. */
export interface ConfiguredPlugins {
  readonly maker: PluginMaker;
  /** Creates one plugin. `path` is the path of its options in the configuration. */
  create<K extends PluginKind>(kind: K, use: PluginUse, path: Path): Promise<PluginInstances[K]>;
  /** Creates the plugins of a list at `path`, one after the other. */
  createAll<K extends PluginKind>(
    kind: K,
    uses: readonly PluginUse[],
    path: Path,
  ): Promise<readonly PluginInstances[K][]>;
  /** Creates the schedule of the configuration with other options, to compare them. */
  recreateSchedule(options: PluginUse['options']): PluginInstances['schedule'] | Promise<PluginInstances['schedule']>;
  /** Adds the name of the plugin that created an instance. `otherwise` names the instances of the application. */
  named<T extends object>(instance: T, otherwise: string): Named<T>;
}

/** Creates the plugins of a run. */
export const PLUGINS: Token<ConfiguredPlugins> = defineToken('PLUGINS');

/** Returns the function that opens loss meters. The model that is trained is loaded when it is first measured. */
const lossMeters = (services: Services, open: OpenLossMeter | null): PluginContext['openLossMeter'] =>
  open === null
    ? undefined
    : async (model) => open(model ?? (await services.resolve(LOADED_MODEL)), await services.resolve(TENSOR_BACKEND));

/** Registers what the configuration creates with a plugin, except strategies, callbacks, the model and data. */
export const pluginServices = ({ resolution }: RunContext): readonly ServiceRegistration[] => {
  const { config } = resolution;
  return [
    provideFactory(PLUGINS, async (services): Promise<ConfiguredPlugins> => {
      const { writes } = await services.resolve(RUN_CLUSTER);
      const context: PluginContext = {
        logger: services.get(LOGGER),
        seed: (await services.resolve(RANDOM)).seed,
        baseFolder: config.baseFolder,
        outputFolder: writes ? config.output.folder : null,
        openGenerator: (await services.resolve(TEXT_GENERATORS)) ?? undefined,
        openLossMeter: lossMeters(services, await services.resolve(LOSS_METERS)),
      };
      const maker = createPluginMaker(context, resolution.wasWritten);
      const create: ConfiguredPlugins['create'] = (kind, { use, options }, path) =>
        maker.create(kind, resolution.pluginFor(kind, use), options, path);
      return {
        maker,
        create,
        createAll: async (kind, uses, path) => {
          const created = [];
          for (const [index, use] of uses.entries()) created.push(await create(kind, use, [...path, index, 'options']));
          return created;
        },
        recreateSchedule: (options) => {
          const plugin = resolution.pluginFor('schedule', config.schedule.use) as Plugin<'schedule'>;
          return plugin.create(options as never, context);
        },
        named: (instance, otherwise) => ({ plugin: maker.nameOf(instance) ?? otherwise, instance }),
      };
    }),
    provideFactory(LOGGERS, async (services) =>
      (await services.resolve(PLUGINS)).createAll('logger', config.loggers, ['loggers']),
    ),
    provideFactory(OPTIMIZER, async (services) =>
      (await services.resolve(PLUGINS)).create('optimizer', optionsOf(config.optimizer, ['learningRate']), [
        'optimizer',
      ]),
    ),
    provideFactory(SCHEDULE, async (services) =>
      (await services.resolve(PLUGINS)).create('schedule', optionsOf(config.schedule, []), ['schedule']),
    ),
    provideFactory(METRICS, async (services) =>
      (await services.resolve(PLUGINS)).createAll('metric', config.evaluation.metrics, ['evaluation', 'metrics']),
    ),
  ];
};

/** Separates the options of a plugin from `use` and from the keys of the framework. */
function optionsOf(section: FlatPluginUse, frameworkKeys: readonly string[]): PluginUse {
  const options = Object.fromEntries(
    Object.entries(section).filter(([key]) => key !== 'use' && !frameworkKeys.includes(key)),
  );
  return { use: section.use, options };
}
