import type { Scalar, Tensor } from '@tensorflow/tfjs-core';
import type { Json } from './json.js';

/** Identifies one of several processes that train together. The process of rank 0 writes files. */
export interface WorkerRank {
  /** The number of this process, from 0 to `count - 1`. */
  readonly rank: number;
  /** The number of processes. */
  readonly count: number;
}

/**
 * Collective operations over the processes that train one model together. All processes call the same methods in the
 * same order; a call completes when all processes have made it. With a single process, sums equal their
 * inputs.
 */
export interface Workers extends WorkerRank {
  /** The name of this worker in messages: `worker 1 (10.0.0.7:2222)`. */
  readonly name: string;
  /**
   * Records the sums of tensors over all workers, by name. Names and shapes must be the same on all workers.
   * Independent operations continue while the sums are computed. The caller owns the tensors and the sums.
   *
   * @param record receives `allReduceSeconds`, the time from the first tensor sent to the last sum received. It also
   *   receives `allReduceWaitSeconds`, the seconds of that time after the last tensor was computed
   * @throws `WORKER_LOST` if another worker has exited or is too slow
   * @throws `WORKER_FAILED` if another worker has failed
   */
  allReduce(tensors: ReadonlyMap<string, Tensor>, record?: (name: string, value: Scalar) => void): Map<string, Tensor>;
  /**
   * Returns the values that all workers pass, by rank.
   *
   * @param what describes the value; must be the same on all workers
   * @throws `WORKER_LOST` if another worker has exited or is too slow
   * @throws `WORKER_FAILED` if another worker has failed, or calls another method
   */
  gather<T extends Json>(what: string, mine: T): Promise<readonly T[]>;
}

/** Describes the processes over which a tensor backend sums tensors. */
export interface TensorCluster extends WorkerRank {
  /** The address `host:port` at which each process serves its tensors, by rank. */
  readonly addresses: readonly string[];
  /** The time after which an operation that waits for other processes fails, in seconds. */
  readonly timeoutSeconds: number;
  /** The number of processes on this machine, which share its cores. */
  readonly sharingCores: number;
  /**
   * Present if all addresses belong to the loopback interface: a secret that only the processes of the run know, with
   * which they accept each other's connections. Nothing may then listen on another interface.
   */
  readonly localSecret?: string;
}

/** The interface of a tensor backend that sums tensors over processes. */
export interface TensorCollective {
  /**
   * Records the sum of each tensor with the tensors at the same index in the lists of the other processes. Tensors are
   * sent in buckets of `bucketBytes`. `seconds` and `waitSeconds` measure the transfer; see `Workers.allReduce`.
   */
  sum(
    tensors: readonly Tensor[],
    bucketBytes: number,
  ): { readonly sums: readonly Tensor[]; readonly seconds: Scalar; readonly waitSeconds: Scalar };
  /** Makes all waiting sums, and every later one, fail with an error. */
  abort(reason: string): void;
}
