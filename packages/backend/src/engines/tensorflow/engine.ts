import { availableParallelism, cpus, totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Program } from '../../recorder/program.js';
import type { Describe, Engine, EngineTensor, Executable } from '../engine.js';
import { encodeConfigProto, type SessionConfig } from './config-proto.js';
import { EagerEmitter, runEagerly } from './eager.js';
import { buildFunction } from './function-builder.js';
import { joinCluster } from './collectives.js';
import { loadTensorflowLibrary, type Pointer, type TensorflowLibrary } from './library.js';
import type { ServerDefinition } from './server-def.js';
import { failure, namedIn, Status } from './status.js';
import { download, downloadLater, upload, uploadFrom } from './tensors.js';

export interface TensorflowEngineOptions {
  /** Folder of libtensorflow. */
  readonly libraryFolder: string;
  /** Threads of one operation; every core by default. */
  readonly threads?: number;
  readonly session?: Partial<SessionConfig>;
  /** Whether operations are queued, so that the host records on while the device works. */
  readonly asynchronous?: boolean;
  /** Where this process is one of several. */
  readonly cluster?: ServerDefinition;
}

interface TensorflowExecutable extends Executable {
  readonly functionName: string;
}

function newContext(library: TensorflowLibrary, status: Status, options: TensorflowEngineOptions): Pointer {
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const config = encodeConfigProto({ intraOpThreads: threads, interOpThreads: 1, optimizeGraphs: false, optimizeFunctions: true, ...options.session });
  const contextOptions = library.TFE_NewContextOptions();
  try {
    library.TFE_ContextOptionsSetConfig(contextOptions, config, config.length, status.pointer);
    status.check('Configuring TensorFlow');
    library.TFE_ContextOptionsSetAsync(contextOptions, options.asynchronous === false ? 0 : 1);
    const context = library.TFE_NewContext(contextOptions, status.pointer);
    status.check('Starting TensorFlow');
    return context;
  } finally {
    library.TFE_DeleteContextOptions(contextOptions);
  }
}

let functionCount = 0;

/** Runs whose operations can still be named when one fails: more are never queued. */
const RUNS_REMEMBERED = 8;

/** The operations of a program in words: the one there is, or that it is among them. */
function oneOf(program: Program, describe: Describe): string {
  const { length } = program.steps;
  if (length === 1) return describe(0);
  const few = Array.from({ length: Math.min(length, 8) }, (_, step) => describe(step));
  return `One of ${length} operations (${few.join('; ')}${length > few.length ? '; …' : ''})`;
}

/** The engine on libtensorflow: programs become TensorFlow functions, executed by name as one op each. */
export function createTensorflowEngine(options: TensorflowEngineOptions): Engine {
  const library = loadTensorflowLibrary(options.libraryFolder);
  const status = new Status(library);
  const context = newContext(library, status, options);
  const collective = options.cluster === undefined ? undefined : joinCluster(library, context, options.cluster);
  const emitter = new EagerEmitter(library, context, status);

  /** A failed operation poisons the queue behind it: empty it, so that what comes next can run. */
  const recover = (): void => {
    const executor = library.TFE_ContextGetExecutorForThread(context);
    library.TFE_ExecutorClearError(executor);
    library.TFE_DeleteExecutor(executor);
  };
  /** Errors come later than their operations: what was queued lately says which operation a message means. */
  const queued: { readonly serial: number; readonly functionName: string | null; readonly program: Program; readonly describe: Describe }[] = [];
  let runs = 0;
  const remember = (functionName: string | null, program: Program, describe: Describe): void => {
    queued.push({ serial: ++runs, functionName, program, describe });
    if (queued.length > RUNS_REMEMBERED) queued.shift();
  };
  /** What is done cannot fail any more: its description, which holds the graph's values, is let go. */
  const finished = (upTo: number): void => {
    while (queued[0] !== undefined && queued[0].serial <= upTo) queued.shift();
  };
  const named = (error: unknown): unknown => {
    if (!(error instanceof WhetstoneError)) return error;
    const { operation, tensorflowCode, tensorflowMessage } = error.details;
    if (operation !== undefined || tensorflowCode === undefined) return error;
    const place = namedIn(String(tensorflowMessage));
    const run = place === null ? queued.findLast(({ functionName }) => functionName === null) : queued.findLast(({ functionName }) => functionName === place.functionName);
    const description = run === undefined ? undefined : place === null ? oneOf(run.program, run.describe) : run.describe(place.step);
    return failure(Number(tensorflowCode), String(tensorflowMessage), description);
  };
  const guarded = <R>(work: () => R): R => {
    try {
      return work();
    } catch (error) {
      recover();
      throw named(error);
    }
  };

  let compilations = 0;
  const compile = (program: Program, describe: Describe): TensorflowExecutable => {
    const functionName = `whetstone_${functionCount++}`;
    compilations++;
    const made = buildFunction(library, status, program, functionName, describe);
    library.TFE_ContextAddFunction(context, made, status.pointer);
    library.TF_DeleteFunction(made);
    status.check('Adding a function');
    const dispose = (): void => {
      library.TFE_ContextRemoveFunction(context, functionName, status.pointer);
    };
    return { program, functionName, dispose };
  };

  return {
    name: 'tensorflow',
    version: library.version,
    device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() },
    staticShapes: false,
    ...(collective === undefined ? {} : { collective }),
    compilations: () => compilations,
    upload: (type, shape, values) => upload(library, status, type, shape, values),
    uploadFrom: (type, shape, fill) => uploadFrom(library, type, shape, fill),
    download: (tensor, type, size) => {
      const values = guarded(() => download(library, status, tensor, type, size));
      finished(runs);
      return values;
    },
    downloadLater: async (tensor, type, size) => {
      const upTo = runs;
      try {
        const values = await downloadLater(library, tensor, type, size);
        finished(upTo);
        return values;
      } catch (error) {
        recover();
        throw named(error);
      }
    },
    release: (tensor) => library.TFE_DeleteTensorHandle(tensor),
    compile,
    run: (executable, inputs, describe): EngineTensor[] => {
      const { functionName } = executable as TensorflowExecutable;
      remember(functionName, executable.program, describe);
      return guarded(() => emitter.execute(functionName, inputs, {}, executable.program.outputs.length));
    },
    runEagerly: (program, inputs, describe) => {
      remember(null, program, describe);
      return guarded(() => runEagerly(library, emitter, program, inputs));
    },
    wait: () => {
      library.TFE_ContextAsyncWait(context, status.pointer);
      if (status.failed) {
        const error = named(status.error());
        recover();
        throw error;
      }
      finished(runs);
    },
    waitLater: () => {
      const upTo = runs;
      const own = new Status(library);
      return new Promise((resolve, reject) => {
        library.TFE_ContextAsyncWait.async(context, own.pointer, (error) => {
          const problem: unknown = error ?? (own.failed ? named(own.error()) : undefined);
          own.dispose();
          if (problem === undefined) {
            finished(upTo);
            return resolve();
          }
          recover();
          reject(problem instanceof Error ? problem : new Error(String(problem)));
        });
      });
    },
    dispose: () => {
      emitter.dispose();
      library.TFE_DeleteContext(context);
      status.dispose();
    },
  };
}
