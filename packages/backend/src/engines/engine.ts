import type { FlashAttentionSupport } from '@whetstone/core/ops/internal';
import type { Program } from '../recorder/program.js';
import type { DeviceArray, StorageDtype, TypedArray } from '../recorder/types.js';

/** A tensor that lives in an engine. Opaque to everyone else. */
export type EngineTensor = bigint;

/** A program that an engine has made ready to run. */
export interface Executable {
  readonly program: Program;
  dispose(): void;
}

/** Says, in words, which operation of a program stands at a position: for errors. */
export type Describe = (step: number) => string;

/** Inputs of a run that are not needed afterwards. */
export interface SpentInputs {
  readonly positions: readonly number[];
  /** Releases them. The caller does so after the run; an engine that has made them its own may do so earlier. */
  release(): void;
}

/** An engine's place among several processes that sum tensors. */
export interface EngineCollective {
  /** `host:port` of every process's engine, by rank. */
  readonly addresses: readonly string[];
  readonly rank: number;
  /** Ends every sum that waits for other processes, and all later ones, with an error. */
  abort(reason: string): void;
}

/** What an engine computes on. */
interface EngineDevice {
  readonly kind: string;
  readonly count: number;
  /** Of one device; null where the engine does not tell. */
  readonly memoryBytes: number | null;
}

/** What computes. Everything above (recording, hashing, memory accounting) is the same for all engines. */
export interface Engine {
  readonly name: 'tensorflow' | 'xla';
  readonly version: string;
  readonly device: EngineDevice;
  /**
   * True where shapes are part of what is compiled. Then every graph is compiled, and operands that two graphs share by
   * chance are told apart without compiling the first anew.
   */
  readonly staticShapes: boolean;
  /** Present where this process is one of several. */
  readonly collective?: EngineCollective;
  /**
   * Whether results take the memory of spent inputs: in every graph, or in those with an operation that writes in
   * place, and of inputs that are worth it.
   */
  readonly reusesInputs?: 'always' | 'in updates';
  /**
   * True where parts of a program that do not depend on one another are computed faster beside each other than one
   * after the other.
   */
  readonly gainsSideBySide?: true;
  /**
   * True where a recording is better handed over in pieces, wherever whoever records says that little is alive: the
   * device works on the first while the next are recorded, and like pieces are one program.
   */
  readonly runsInPieces?: boolean;
  /** How many devices there are; one where absent. */
  readonly devices?: number;
  /** What the device's library computes attention of in bfloat16; null or absent where there is none. */
  readonly flashAttention?: FlashAttentionSupport | null;
  /** From now on graphs run on this device, or each alike on all of them. */
  useDevice?(device: number | 'all'): void;
  /**
   * How many programs were made ready so far; on static shapes each set of shapes counts, compiled here or found on
   * disk.
   */
  compilations(): number;
  /** Copies host values to the device. */
  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray): EngineTensor;
  /**
   * Makes a tensor whose bytes `fill` writes; where the host can reach the device's memory, they are written where they
   * stay.
   */
  uploadFrom(
    type: StorageDtype,
    shape: readonly number[],
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<EngineTensor>;
  /** Waits for a tensor and copies it to the host. */
  download(tensor: EngineTensor, type: StorageDtype, size: number): TypedArray;
  /** The same without blocking the event loop. */
  downloadLater(tensor: EngineTensor, type: StorageDtype, size: number): Promise<TypedArray>;
  release(tensor: EngineTensor): void;
  /** Makes a program ready to be run many times. */
  compile(program: Program, describe: Describe): Executable;
  /**
   * Queues an executable. The results may still be in the making when this returns. `spent` are inputs that nobody but
   * the caller holds: the engine may compute results in their memory.
   */
  run(executable: Executable, inputs: readonly EngineTensor[], describe: Describe, spent?: SpentInputs): EngineTensor[];
  /** Queues a program op by op, without compiling it. */
  runEagerly(program: Program, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[];
  /** Waits until the device has done everything queued. */
  wait(): void;
  /** The same without blocking the event loop. */
  waitLater(): Promise<void>;
  dispose(): void;
}
