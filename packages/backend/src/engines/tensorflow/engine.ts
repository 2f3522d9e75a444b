import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Describe, Engine, EngineTensor } from '../engine.js';
import { CompiledFunction } from './compiled-function.js';
import { encodeConfigProto, type SessionConfig } from './config-proto.js';
import { EagerEmitter, runEagerly } from './eager.js';
import { joinCluster } from './collectives.js';
import { startFlight } from './flight.js';
import { Handles } from './handles.js';
import { loadTensorflowLibrary, type Pointer, type TensorflowLibrary } from './library.js';
import { RunLog } from './run-log.js';
import type { ServerDefinition } from './server-def.js';
import { Status } from './status.js';
import { download, downloadLater, upload, uploadFrom } from './tensors.js';
import { WorkQueue } from './work-queue.js';

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

function newContext(library: TensorflowLibrary, status: Status, options: TensorflowEngineOptions): Pointer {
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const config = encodeConfigProto({ intraOpThreads: threads, interOpThreads: Math.min(2, threads), optimizeGraphs: false, optimizeFunctions: true, ...options.session });
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

/** The engine on libtensorflow: programs become TensorFlow functions, executed by name as one op each. */
export function createTensorflowEngine(options: TensorflowEngineOptions): Engine {
  const library = loadTensorflowLibrary(options.libraryFolder);
  const status = new Status(library);
  const context = newContext(library, status, options);
  const collective = options.cluster === undefined ? undefined : joinCluster(library, context, options.cluster);
  const emitter = new EagerEmitter(library, context, status);

  const log = new RunLog(library, context);
  const handles = new Handles((handle) => library.TFE_DeleteTensorHandle(handle));
  const queue = new WorkQueue(handles, log);
  let compilations = 0;
  const add = (compiled: CompiledFunction, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[] => {
    const { name, program } = compiled;
    const results = program.outputs.length;
    return queue.add({
      compiled,
      inputs,
      results,
      run: (pointers) => {
        log.remember(name, program, describe);
        return log.guarded(() => emitter.execute(name, pointers, {}, results));
      },
      runLater: (pointers) => {
        log.remember(name, program, describe);
        return startFlight(library, emitter.operation(name, pointers, {}), new Status(library), results, (error) => log.recovered(error));
      },
    });
  };

  return {
    name: 'tensorflow',
    version: library.version,
    device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() },
    staticShapes: false,
    reusesInputs: 'in updates',
    ...(collective === undefined ? {} : { collective }),
    compilations: () => compilations,
    upload: (type, shape, values) => upload(library, status, type, shape, values),
    uploadFrom: (type, shape, fill) => uploadFrom(library, type, shape, fill),
    download: (tensor, type, size) => {
      queue.ensure(tensor);
      const values = log.guarded(() => download(library, status, handles.handle(tensor), type, size));
      log.finished(log.last);
      return values;
    },
    downloadLater: async (tensor, type, size) => {
      handles.use(tensor);
      try {
        await queue.ensureLater(tensor);
        const handle = handles.handle(tensor);
        const upTo = log.last;
        try {
          const values = await downloadLater(library, handle, type, size);
          log.finished(upTo);
          return values;
        } catch (error) {
          throw log.recovered(error);
        }
      } finally {
        handles.used(tensor);
      }
    },
    release: (tensor) => handles.release(tensor),
    compile: (program, describe) => {
      compilations++;
      return new CompiledFunction(library, context, status, program, describe);
    },
    run: (executable, inputs, describe, spent): EngineTensor[] => {
      const compiled = executable as CompiledFunction;
      const taking = spent === undefined || spent.positions.length === 0 ? null : compiled.taking(spent.positions, describe);
      if (spent === undefined || taking === null) return add(compiled, inputs, describe);
      const taken = new Set(taking.positions);
      for (const done of add(taking.handOver, taking.positions.map((position) => inputs[position] ?? 0n), () => 'Handing inputs over')) handles.release(done);
      // Before it begins: what anybody else holds, it cannot write into.
      spent.release();
      return add(taking.compiled, inputs.filter((_, position) => !taken.has(position)), describe);
    },
    runEagerly: (program, inputs, describe) =>
      queue.add({
        compiled: null,
        inputs,
        results: program.outputs.length,
        run: (pointers) => {
          log.remember(null, program, describe);
          return log.guarded(() => runEagerly(library, emitter, program, pointers));
        },
      }),
    wait: () => {
      queue.drain();
      library.TFE_ContextAsyncWait(context, status.pointer);
      if (status.failed) throw log.recovered(status.error());
      log.finished(log.last);
    },
    waitLater: async () => {
      await queue.drainLater();
      const upTo = log.last;
      const own = new Status(library);
      await new Promise<void>((resolve, reject) => {
        library.TFE_ContextAsyncWait.async(context, own.pointer, (error) => {
          const problem: unknown = error ?? (own.failed ? own.error() : undefined);
          own.dispose();
          if (problem === undefined) {
            log.finished(upTo);
            return resolve();
          }
          reject(log.recovered(problem));
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
