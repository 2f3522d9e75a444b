import { encodeConfigProto, type SessionConfig } from './config-proto.js';
import { EagerEmitter } from './eager.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { Status } from './status.js';
import { separateThreadPools } from '../../tfjs-patches/environment.js';
import { toError } from '@whetstone/core/util';

export interface PlaceOptions {
  /** Threads of the whole place. */
  readonly threads: number;
  /** Threads that share one operation. */
  readonly ofOperation: number;
  readonly session?: Partial<SessionConfig>;
  readonly asynchronous?: boolean;
}

/**
 * A context of TensorFlow's. How many threads share an operation belongs to it; tensors go from one to another as they
 * are.
 */
export interface Place {
  readonly context: Pointer;
  readonly emitter: EagerEmitter;
  /** Waits until everything that was handed over is done. Throws what went wrong. */
  wait(): void;
  /** The same without blocking the event loop. */
  waitLater(): Promise<void>;
  dispose(): void;
}

export function openPlace(library: TensorflowLibrary, status: Status, options: PlaceOptions): Place {
  const context = newContext(library, status, options);
  const emitter = new EagerEmitter(library, context, status);
  return {
    context,
    emitter,
    wait: () => {
      library.TFE_ContextAsyncWait(context, status.pointer);
      status.check();
    },
    waitLater: async () => {
      const own = new Status(library);
      try {
        await new Promise<void>((resolve, reject) => {
          library.TFE_ContextAsyncWait.async(context, own.pointer, (error) => {
            if (error === null || error === undefined) resolve();
            else reject(toError(error));
          });
        });
        own.check();
      } finally {
        own.dispose();
      }
    },
    dispose: () => {
      emitter.dispose();
      library.TFE_DeleteContext(context);
    },
  };
}

function newContext(
  library: TensorflowLibrary,
  status: Status,
  { threads, ofOperation, session, asynchronous }: PlaceOptions,
): Pointer {
  separateThreadPools();
  const config = encodeConfigProto({
    intraOpThreads: ofOperation,
    interOpThreads: Math.min(2, threads),
    optimizeGraphs: false,
    optimizeFunctions: true,
    ...session,
  });
  const contextOptions = library.TFE_NewContextOptions();
  try {
    library.TFE_ContextOptionsSetConfig(contextOptions, config, config.length, status.pointer);
    status.check('Configuring TensorFlow');
    library.TFE_ContextOptionsSetAsync(contextOptions, asynchronous === false ? 0 : 1);
    const context = library.TFE_NewContext(contextOptions, status.pointer);
    status.check('Starting TensorFlow');
    return context;
  } finally {
    library.TFE_DeleteContextOptions(contextOptions);
  }
}
