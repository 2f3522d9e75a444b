import { CHECKPOINT_STORE, folderCheckpoints } from '../../checkpoint/index.js';
import type { ResolvedConfig } from '../../config/types.js';
import {
  CLOCK,
  EVAL_DATA,
  EVAL_SOURCE,
  LOADED_MODEL,
  LOGGER,
  MODEL_OUTLINE,
  RANDOM,
  REPLY_GENERATOR,
  LOSS_METERS,
  TEXT_GENERATORS,
  TRAIN_DATA,
  TRAIN_SOURCE,
  WhetstoneError,
} from '../../contract/index.js';
import {
  createServices,
  provide,
  provideFactory,
  type RunServices,
  type ServiceRegistration,
} from '../../container.js';
import { CLUSTER, environmentCluster } from '../../distributed/index.js';
import { systemClock } from '../../training/system-clock.js';
import { standardErrorLogger } from '../standard-error-logger.js';
import { backendServices } from './backend.js';
import { clusterServices } from './cluster.js';
import { loggerServices, type RunContext } from './context.js';
import { dataServices } from './data.js';
import { modelServices } from './model.js';
import { pluginServices } from './plugins.js';
import { strategyServices } from './strategies.js';

/** The services that no configuration selects. */
const defaultServices: readonly ServiceRegistration[] = [
  provide(CLOCK, systemClock),
  provide(LOGGER, standardErrorLogger),
  provide(CHECKPOINT_STORE, folderCheckpoints),
  provide(CLUSTER, environmentCluster),
  provide(TEXT_GENERATORS, null),
  provide(LOSS_METERS, null),
  provideFactory(REPLY_GENERATOR, () => {
    throw new WhetstoneError('CONFIG_CONFLICT', 'The service that generates replies is missing.', {
      place: { path: 'evaluation.metrics' },
      expected: 'REPLY_GENERATOR',
      hint: 'The package "whetstone" registers it in its Trainer and its command.',
    });
  }),
];

const randomServices = ({ training }: ResolvedConfig): readonly ServiceRegistration[] => [
  provideFactory(RANDOM, () => ({ seed: training.seed, dataSeed: training.dataSeed ?? training.seed })),
];

/**
 * The services that follow from a registered one. Registered batches need no source of conversations, so that the
 * source is null. A registered model is its own outline.
 */
const impliedServices: ReadonlyMap<symbol, ServiceRegistration> = new Map<symbol, ServiceRegistration>([
  [TRAIN_DATA, provide(TRAIN_SOURCE, null)],
  [EVAL_DATA, provide(EVAL_SOURCE, null)],
  [
    LOADED_MODEL,
    provideFactory(
      MODEL_OUTLINE,
      async (services) => (await services.resolve(LOADED_MODEL)).model,
      () => undefined,
    ),
  ],
]);

/** Returns the services that do not depend on a configuration, with those of the application. */
export const applicationServices = (registered: readonly ServiceRegistration[]): RunServices =>
  createServices([...defaultServices, ...registered]);

/**
 * Returns all services of a run. Those that the configuration selects are created at their first use. A registered
 * service replaces the one with the same token.
 */
export function runServices(context: RunContext, registered: readonly ServiceRegistration[]): RunServices {
  return createServices([
    ...defaultServices,
    ...randomServices(context.resolution.config),
    ...loggerServices(context),
    ...clusterServices(context),
    ...backendServices(context),
    ...pluginServices(context),
    ...strategyServices(context),
    ...modelServices(context),
    ...dataServices(context),
    ...registered.flatMap(({ token }) => impliedServices.get(token) ?? []),
    ...registered,
  ]);
}
