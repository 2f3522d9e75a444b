import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Program } from '../../recorder/program.js';
import type { Describe, Engine, EngineTensor } from '../engine.js';
import { CompiledFunction } from './compiled-function.js';
import type { SessionConfig } from './config-proto.js';
import { runEagerly } from './eager.js';
import { joinCluster } from './collectives.js';
import { executeAsync } from './async-execution.js';
import { Handles } from './handles.js';
import { loadTensorflowLibrary } from './library.js';
import { openExecutionContext, type ExecutionContext } from './execution-context.js';
import { RunLog } from './run-log.js';
import type { ServerDefinition } from './server-def.js';
import { Status } from './status.js';
import { download, downloadLater, upload, uploadFrom } from './tensors.js';
import { WorkQueue } from './work-queue.js';

export interface TensorflowEngineOptions {
  /** Folder of libtensorflow. */
  readonly libraryFolder: string;
  /** Threads of one operation; by default one per core. */
  readonly threads?: number;
  readonly session?: Partial<SessionConfig>;
  /** Whether operations are queued, so that the host continues to record while the device computes. */
  readonly asynchronous?: boolean;
  /** The cluster, if this process is one of several. */
  readonly cluster?: ServerDefinition;
}

/** Creates the engine on libtensorflow. A program becomes a TensorFlow function that is executed as one op. */
export function createTensorflowEngine(options: TensorflowEngineOptions): Engine {
  const library = loadTensorflowLibrary(options.libraryFolder);
  const status = new Status(library);
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const main = openExecutionContext(library, status, { ...options, threads, operationThreads: threads });
  const { emitter } = main;
  const collective = options.cluster === undefined ? undefined : joinCluster(library, main.pointer, options.cluster);
  /** Context for concurrent programs, with half of the threads per operation; opened on first use. */
  let halved: ExecutionContext | null = null;
  const contexts = (): readonly ExecutionContext[] => (halved === null ? [main] : [main, halved]);
  const contextFor = ({ concurrent }: Program): ExecutionContext => {
    if (concurrent !== true || collective !== undefined) return main;
    const operationThreads = Math.ceil(threads / 2);
    return (halved ??= openExecutionContext(library, status, { ...options, threads, operationThreads }));
  };

  const log = new RunLog(library, () => contexts().map(({ pointer }) => pointer), collective === undefined);
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
        return log.guarded(() => contextFor(program).emitter.execute(name, pointers, {}, results));
      },
      runLater: (pointers) => {
        log.remember(name, program, describe);
        return executeAsync(
          library,
          contextFor(program).emitter.operation(name, pointers, {}),
          new Status(library),
          results,
          (error) => log.recovered(error),
        );
      },
    });
  };

  return {
    name: 'tensorflow',
    version: library.version,
    device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() },
    staticShapes: false,
    reusesInputs: 'in updates',
    ...(collective === undefined ? { gainsFromConcurrency: true as const } : {}),
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
        handles.endUse(tensor);
      }
    },
    release: (tensor) => handles.release(tensor),
    compile: (program, describe) => {
      compilations++;
      return new CompiledFunction(library, contextFor(program).pointer, status, program, describe);
    },
    run: (executable, inputs, describe, spent): EngineTensor[] => {
      const compiled = executable as CompiledFunction;
      const donating =
        spent === undefined || spent.positions.length === 0 ? null : compiled.donating(spent.positions, describe);
      if (spent === undefined || donating === null) return add(compiled, inputs, describe);
      const donated = new Set(donating.positions);
      for (const done of add(
        donating.store,
        donating.positions.map((position) => inputs[position] ?? 0n),
        () => 'Storing donated inputs',
      ))
        handles.release(done);
      // Before the run: TensorFlow writes only to memory that has no other owner.
      spent.release();
      return add(
        donating.compiled,
        inputs.filter((_, position) => !donated.has(position)),
        describe,
      );
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
      log.guarded(() => contexts().forEach((context) => context.wait()));
      log.finished(log.last);
    },
    waitLater: async () => {
      await queue.drainLater();
      const upTo = log.last;
      for (const context of contexts()) {
        await context.waitLater().catch((error: unknown) => {
          throw log.recovered(error);
        });
      }
      log.finished(upTo);
    },
    dispose: () => {
      for (const context of contexts()) context.dispose();
      status.dispose();
    },
  };
}
