import type { ResolvedConfig } from '../../config/types.js';
import {
  LOGGER,
  defineToken,
  type Json,
  type TensorBackendInfo,
  type TensorCluster,
  type Token,
  type Workers,
} from '../../contract/index.js';
import { provideFactory, type ServiceRegistration, type Services } from '../../container.js';
import {
  CLUSTER,
  clusterToken,
  createWorkers,
  explainFailure,
  isLocalCluster,
  joinCluster,
  singleWorker,
  TOKEN_VARIABLE,
  workerName,
  type ClusterMembership,
} from '../../distributed/index.js';
import type { RunContext } from './context.js';

/** The processes that train a run together. */
export interface RunCluster {
  /** Whether this process writes the files of the run. */
  readonly writes: boolean;
  /** The processes over which the backend sums tensors; null for a single process. */
  readonly tensors: TensorCluster | null;
  /** Returns the values of all processes, by rank. `what` names the point of the run. */
  gather<T extends Json>(what: string, mine: T): Promise<readonly T[]>;
  /** Returns the collective operations over the processes. */
  workersOn(backend: TensorBackendInfo): Workers;
  /** Returns the error to report for an error of this process. Another worker may have caused it. */
  explain(error: unknown): Promise<unknown>;
  /** Leaves the cluster. */
  leave(): void;
}

/** The cluster of a run. It is created when the process joins the others. */
export const RUN_CLUSTER: Token<RunCluster> = defineToken('RUN_CLUSTER');

const singleProcess: RunCluster = {
  writes: true,
  tensors: null,
  gather: async (_, mine) => [mine],
  workersOn: () => singleWorker,
  explain: async (error) => error,
  leave: () => undefined,
};

/** Registers the cluster: the processes of `CLUSTER`, or this one only. */
export const clusterServices = (context: RunContext): readonly ServiceRegistration[] => [
  provideFactory(
    RUN_CLUSTER,
    async (services) => {
      const membership = services.get(CLUSTER).membership();
      return membership === null ? singleProcess : join(membership, services, context);
    },
    (cluster) => cluster.leave(),
  ),
];

async function join(
  membership: ClusterMembership,
  services: Services,
  { resolution: { config }, signal }: RunContext,
): Promise<RunCluster> {
  const { ddpTimeout, ddpBucketCapMb } = config.training;
  const name = workerName(membership, membership.rank);
  const logger = services.get(LOGGER);
  const token = clusterToken();
  if (token === null && membership.rank === 0 && !isLocalCluster(membership))
    logger.warn(
      `${TOKEN_VARIABLE} is not set: every process that reaches the port of ${name} can join the run, or end it. ` +
        'Set it to the same secret in all processes.',
    );
  const rendezvous = await joinCluster(membership, {
    timeoutSeconds: ddpTimeout,
    settings: settingsOf(config),
    signal,
    token,
    warn: (message) => logger.warn(message),
  });
  logger.info(`${membership.count} workers train together; this is ${name}.`);
  return {
    writes: membership.rank === 0,
    tensors: rendezvous.cluster,
    gather: async <T extends Json>(what: string, mine: T) =>
      (await rendezvous.client.gather(what, mine)) as readonly T[],
    workersOn: ({ collective }) =>
      collective === undefined ? singleWorker : createWorkers(rendezvous, name, collective, ddpBucketCapMb * 2 ** 20),
    explain: (error) => explainFailure(rendezvous.client, error),
    leave: rendezvous.leave,
  };
}

/**
 * Returns the settings that must be the same in all workers. Paths may differ: the first step reports different data.
 */
function settingsOf({
  backend,
  training,
  data,
  evaluation,
  optimizer,
  schedule,
  strategy,
  companions,
  callbacks,
}: ResolvedConfig): Readonly<Record<string, string>> {
  const { train: _train, eval: _evaluation, transforms: _transforms, ...batching } = data;
  const { resumeFromCheckpoint, ...steps } = training;
  const text = (value: unknown): string => JSON.stringify(value);
  return {
    training: text(steps),
    'training.resumeFromCheckpoint': text(resumeFromCheckpoint !== null && resumeFromCheckpoint !== false),
    data: text(batching),
    evaluation: text(evaluation),
    optimizer: text(optimizer),
    schedule: text(schedule),
    'backend.matmul': text(backend.matmul ?? null),
    strategy: text(strategy.use),
    companions: text(companions.map(({ use }) => use)),
    callbacks: text(callbacks),
  };
}
