import type { Tensor } from '@tensorflow/tfjs-core';
import { isWhetstoneError, WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { TensorCollective, Workers } from '../contract/workers.js';
import type { Rendezvous } from './rendezvous.js';
import type { WorkerClient } from './worker-client.js';
import { messageOf } from '../util/index.js';

/** Sums tensors through the backend, and says everything else over the line to the chief. */
export function createWorkers(
  { member, cluster: { rank, count } }: Pick<Rendezvous, 'member' | 'cluster'>,
  name: string,
  collective: TensorCollective,
  bucketBytes: number,
): Workers {
  member.onFailure((failure) => collective.abort(failure.message));
  return {
    rank,
    count,
    name,
    allReduce: (tensors, record) => {
      // The backward pass makes the last layers' gradients first.
      const { sums, seconds, waitSeconds } = collective.sum([...tensors.values()].toReversed(), bucketBytes);
      record?.('allReduceSeconds', seconds);
      record?.('allReduceWaitSeconds', waitSeconds);
      seconds.dispose();
      waitSeconds.dispose();
      const inOrder = sums.toReversed();
      return new Map([...tensors.keys()].map((each, index) => [each, inOrder[index] as Tensor]));
    },
    gather: async <T extends Json>(what: string, mine: T) => (await member.gather(what, mine)) as readonly T[],
  };
}

/**
 * The error to show for one that was met here: that of another worker, where this one only follows from it. Of this
 * worker's own the others are told.
 */
export async function explainFailure(member: WorkerClient, error: unknown): Promise<unknown> {
  const own = isWhetstoneError(error) ? error : new WhetstoneError('INTERNAL', messageOf(error));
  // All have agreed to end.
  if (own.code === 'INTERRUPTED' && own.details['step'] !== undefined) return error;
  if (member.failure !== null) return member.failure;
  if (!isAllReduceFailure(own)) {
    member.fail(own);
    return error;
  }
  member.stalled(own.message);
  return new Promise((resolve) => {
    member.onFailure(resolve);
  });
}

/** Whether an error is TensorFlow's word for others that do not answer. */
function isAllReduceFailure({ code, message }: WhetstoneError): boolean {
  return code === 'BACKEND_FAILED' && /Collective ops is aborted|WhetstoneAllReduce/.test(message);
}
