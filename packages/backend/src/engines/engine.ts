import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';
import type { Program } from '../recorder/program.js';
import type { DeviceArray, StorageDtype, TypedArray } from '../recorder/types.js';

/** An engine's handle of a tensor. Only the engine knows what it means. */
export type EngineTensor = bigint;

/** A program that an engine has prepared to run. */
export interface Executable {
  readonly program: Program;
  dispose(): void;
}

/** Describes the operation of a program at a position, for error messages. */
export type Describe = (step: number) => string;

/** Inputs of a run that are not needed afterwards. */
export interface SpentInputs {
  readonly positions: readonly number[];
  /** Releases the inputs. The caller does so after the run. An engine may do so earlier if it has its own reference. */
  release(): void;
}

/** An engine as one of several processes that sum tensors. */
export interface EngineCollective {
  /** `host:port` of each process's engine, by rank. */
  readonly addresses: readonly string[];
  readonly rank: number;
  /** Fails all sums that wait for other processes, and all later sums. */
  abort(reason: string): void;
  /** Present if the engine sums outside of its graphs, because all processes are on this machine. */
  readonly local?: LocalSums;
}

/** Sums over the processes of one machine. */
export interface LocalSums {
  /**
   * Resolves when this process is ready to be reached by the others.
   *
   * @throws `BACKEND_UNAVAILABLE` if its address is in use
   */
  readonly ready: Promise<void>;
  /**
   * Queues a sum of float32 tensors with those at the same positions in the other processes. Returns the sums, then a
   * scalar with the seconds that they took, which may all be pending.
   */
  sum(inputs: readonly EngineTensor[], shapes: readonly (readonly number[])[]): EngineTensor[];
}

/** The devices of an engine. */
interface EngineDevice {
  readonly kind: string;
  readonly count: number;
  /** Memory of one device; null if the engine does not report it. */
  readonly memoryBytes: number | null;
  /** Whether it is a GPU or similar: neither a processor nor software that stands in for a GPU. */
  readonly isAccelerator: boolean;
}

/** Computes programs. The layers above it (recording, hashing, memory accounting) are the same for all engines. */
export interface Engine {
  readonly name: 'tensorflow' | 'xla';
  readonly version: string;
  readonly device: EngineDevice;
  /**
   * Whether shapes are part of compiled code. If so, every graph is compiled. Operands that happen to be equal in one
   * graph but not in another get separate inputs without recompiling the first graph.
   */
  readonly staticShapes: boolean;
  /** Present if this process is one of several. */
  readonly collective?: EngineCollective;
  /**
   * Whether results reuse the memory of spent inputs: in every graph, or only large inputs of graphs with an operation
   * that writes in place. Absent if they do not.
   */
  readonly reusesInputs?: 'always' | 'in updates';
  /** Present if the engine computes independent operations of a program faster concurrently than one after another. */
  readonly gainsFromConcurrency?: true;
  /**
   * Whether a recording is submitted in segments, at boundaries where few tensors are alive. The device computes a
   * segment while the next is recorded, and equal segments are compiled once.
   */
  readonly runsInSegments?: boolean;
  /** Number of devices; one if absent. */
  readonly devices?: number;
  /** What the device's bfloat16 attention supports; null or absent if it has none. */
  readonly flashAttention?: FlashAttentionSupport | null;
  /** Selects the device for the following graphs, or all devices, on which each graph then runs. */
  useDevice?(device: number | 'all'): void;
  /** Returns how many programs were prepared. With static shapes each set of shapes counts, compiled or cached. */
  compilations(): number;
  /** Copies host values to the device. */
  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray): EngineTensor;
  /** Creates a tensor whose bytes `fill` writes: without a copy if the host can write to the device's memory. */
  uploadFrom(
    type: StorageDtype,
    shape: readonly number[],
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<EngineTensor>;
  /** Waits for a tensor and copies it to the host. */
  download(tensor: EngineTensor, type: StorageDtype, size: number): TypedArray;
  /** Like `download`, without blocking the event loop. */
  downloadLater(tensor: EngineTensor, type: StorageDtype, size: number): Promise<TypedArray>;
  release(tensor: EngineTensor): void;
  /** Prepares a program to be run many times. */
  compile(program: Program, describe: Describe): Executable;
  /**
   * Queues an executable and returns its results, which may still be pending.
   *
   * @param spent inputs that only the caller holds: the engine may compute results in their memory
   */
  run(executable: Executable, inputs: readonly EngineTensor[], describe: Describe, spent?: SpentInputs): EngineTensor[];
  /** Queues a program op by op, without compiling it, and returns its results. */
  runEagerly(program: Program, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[];
  /** Waits until the device has completed all queued work. */
  wait(): void;
  /** Like `wait`, without blocking the event loop. */
  waitLater(): Promise<void>;
  dispose(): void;
}
