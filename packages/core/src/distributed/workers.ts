import type { Tensor } from '@tensorflow/tfjs-core';
import { isWhetstoneError, WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { TensorCollective, Workers } from '../contract/workers.js';
import type { Rendezvous } from './rendezvous.js';
import type { WorkerClient } from './worker-client.js';
import { messageOf } from '../util/index.js';

/** The workers of a run in one process. */
export const singleWorker: Workers = {
  rank: 0,
  count: 1,
  name: 'the only worker',
  allReduce: (tensors) => new Map(tensors),
  gather: async (_, mine) => [mine],
};

/** Creates the workers of a cluster: tensors are summed by the backend, all other data goes through the chief. */
export function createWorkers(
  { client, cluster: { rank, count } }: Pick<Rendezvous, 'client' | 'cluster'>,
  name: string,
  collective: TensorCollective,
  bucketBytes: number,
): Workers {
  client.onFailure((failure) => collective.abort(failure.message));
  return {
    rank,
    count,
    name,
    allReduce: (tensors, record) => {
      // The backward pass computes the gradients of the last layers first.
      const { sums, seconds, waitSeconds } = collective.sum([...tensors.values()].toReversed(), bucketBytes);
      record?.('allReduceSeconds', seconds);
      record?.('allReduceWaitSeconds', waitSeconds);
      seconds.dispose();
      waitSeconds.dispose();
      const inOrder = sums.toReversed();
      return new Map([...tensors.keys()].map((each, index) => [each, inOrder[index] as Tensor]));
    },
    gather: async <T extends Json>(what: string, mine: T) => (await client.gather(what, mine)) as readonly T[],
  };
}

/**
 * Returns the error to report for an error in this process: that of another worker if it caused this one. This worker's
 * own errors are sent to the others.
 */
export async function explainFailure(client: WorkerClient, error: unknown): Promise<unknown> {
  const own = isWhetstoneError(error) ? error : new WhetstoneError('INTERNAL', messageOf(error));
  // All workers agreed to stop.
  if (own.code === 'INTERRUPTED' && own.details['step'] !== undefined) return error;
  if (client.failure !== null) return client.failure;
  if (!isAllReduceFailure(own)) {
    client.fail(own);
    return error;
  }
  client.stalled(own.message);
  return new Promise((resolve) => {
    client.onFailure(resolve);
  });
}

/** Returns whether an error is TensorFlow's error for workers that do not answer. */
function isAllReduceFailure({ code, message }: WhetstoneError): boolean {
  return code === 'BACKEND_FAILED' && /Collective ops is aborted|WhetstoneAllReduce/.test(message);
}
