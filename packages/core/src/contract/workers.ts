import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';

/** Which of several processes that train together this one is. The one of rank 0 writes. */
export interface WorkerRank {
  readonly rank: number;
  readonly count: number;
}

/**
 * The processes that train one model together, as one of them sees them. All of them call the same methods in the same
 * order; each call returns when all have called it. With a count of 1 everything is as if it were not there.
 *
 * @throws by every method: `WORKER_LOST`, `WORKER_FAILED` where another worker is gone, too slow, or failed
 */
export interface Workers extends WorkerRank {
  /** This worker and where it is, for people: `worker 1 (10.0.0.7:2222)`. */
  readonly name: string;
  /**
   * Sums tensors of the same names and shapes over all workers. Only recorded: what is computed beside it goes on
   * meanwhile. The tensors stay the caller's, and so do the sums. `record` is told `allReduceSeconds` (first tensors
   * sent until last sum there) and `allReduceWaitSeconds` (what of that came after the last tensor was computed).
   */
  allReduce(tensors: ReadonlyMap<string, Tensor>, record?: (name: string, value: Scalar) => void): Map<string, Tensor>;
  /** Plain data of all workers, by rank. `what` says what it is, and has to be the same for all. */
  gather<T extends Json>(what: string, mine: T): Promise<readonly T[]>;
}

/** What a tensor backend needs to know to sum tensors over processes. */
export interface TensorCluster extends WorkerRank {
  /** `host:port` by rank, where each process serves its tensors. */
  readonly addresses: readonly string[];
  /** After so long an operation that waits for other processes fails. */
  readonly timeoutSeconds: number;
  /** How many of the processes share this one's cores. */
  readonly sharingCores: number;
}

/** The part of a tensor backend that sums over processes. */
export interface TensorCollective {
  /**
   * Sums each tensor with those at its place in the other processes' lists, as many at a time as make `bucketBytes`.
   * Recorded, as other operations are.
   */
  sum(
    tensors: readonly Tensor[],
    bucketBytes: number,
  ): { readonly sums: readonly Tensor[]; readonly seconds: Scalar; readonly waitSeconds: Scalar };
  /** Ends all sums that wait for other processes, and every later one, with an error. */
  abort(reason: string): void;
}
