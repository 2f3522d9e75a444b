import { encodeConfigProto, type SessionConfig } from './config-proto.js';
import { EagerEmitter } from './eager.js';
import type { Pointer, TensorflowLibrary } from './library.js';
import { Status } from './status.js';
import { separateThreadPools } from '../../tfjs-patches/environment.js';
import { toError } from '@whetstone/core/util';

export interface ExecutionContextOptions {
  /** Threads of the context. */
  readonly threads: number;
  /** Threads that share one operation. */
  readonly operationThreads: number;
  readonly session?: Partial<SessionConfig>;
  readonly asynchronous?: boolean;
}

/**
 * A TensorFlow eager context. It fixes how many threads share an operation. Contexts can use each other's tensors
 * without a copy.
 */
export interface ExecutionContext {
  readonly pointer: Pointer;
  readonly emitter: EagerEmitter;
  /** Waits until all submitted operations are done. @throws the error of a failed operation */
  wait(): void;
  /** Like `wait`, without blocking the event loop. */
  waitLater(): Promise<void>;
  dispose(): void;
}

export function openExecutionContext(
  library: TensorflowLibrary,
  status: Status,
  options: ExecutionContextOptions,
): ExecutionContext {
  const pointer = newContext(library, status, options);
  const emitter = new EagerEmitter(library, pointer, status);
  return {
    pointer,
    emitter,
    wait: () => {
      library.TFE_ContextAsyncWait(pointer, status.pointer);
      status.check();
    },
    waitLater: async () => {
      const own = new Status(library);
      try {
        await new Promise<void>((resolve, reject) => {
          library.TFE_ContextAsyncWait.async(pointer, own.pointer, (error) => {
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
      library.TFE_DeleteContext(pointer);
    },
  };
}

function newContext(
  library: TensorflowLibrary,
  status: Status,
  { threads, operationThreads, session, asynchronous }: ExecutionContextOptions,
): Pointer {
  separateThreadPools();
  const config = encodeConfigProto({
    intraOpThreads: operationThreads,
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
