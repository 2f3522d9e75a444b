import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Program } from '../../recorder/program.js';
import type { Describe, Engine, EngineTensor } from '../engine.js';
import { CompiledFunction } from './compiled-function.js';
import type { SessionConfig } from './config-proto.js';
import { runEagerly } from './eager.js';
import { joinCluster } from './collectives.js';
import { startFlight } from './flight.js';
import { Handles } from './handles.js';
import { loadTensorflowLibrary } from './library.js';
import { openPlace, type Place } from './place.js';
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

/** The engine on libtensorflow: programs become TensorFlow functions, executed by name as one op each. */
export function createTensorflowEngine(options: TensorflowEngineOptions): Engine {
  const library = loadTensorflowLibrary(options.libraryFolder);
  const status = new Status(library);
  const threads = Math.max(1, options.threads ?? availableParallelism());
  const main = openPlace(library, status, { ...options, threads, ofOperation: threads });
  const { context, emitter } = main;
  const collective = options.cluster === undefined ? undefined : joinCluster(library, context, options.cluster);
  /**
   * Where parts are computed beside each other, each with half of the threads; opened when there is something for it.
   */
  let halved: Place | null = null;
  const places = (): readonly Place[] => (halved === null ? [main] : [main, halved]);
  const placeOf = ({ concurrent: sideBySide }: Program): Place => {
    if (sideBySide !== true || collective !== undefined) return main;
    return (halved ??= openPlace(library, status, { ...options, threads, ofOperation: Math.ceil(threads / 2) }));
  };

  const log = new RunLog(library, () => places().map((place) => place.context), collective === undefined);
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
        return log.guarded(() => placeOf(program).emitter.execute(name, pointers, {}, results));
      },
      runLater: (pointers) => {
        log.remember(name, program, describe);
        return startFlight(
          library,
          placeOf(program).emitter.operation(name, pointers, {}),
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
    ...(collective === undefined ? { gainsSideBySide: true as const } : {}),
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
      return new CompiledFunction(library, placeOf(program).context, status, program, describe);
    },
    run: (executable, inputs, describe, spent): EngineTensor[] => {
      const compiled = executable as CompiledFunction;
      const taking =
        spent === undefined || spent.positions.length === 0 ? null : compiled.taking(spent.positions, describe);
      if (spent === undefined || taking === null) return add(compiled, inputs, describe);
      const taken = new Set(taking.positions);
      for (const done of add(
        taking.handOver,
        taking.positions.map((position) => inputs[position] ?? 0n),
        () => 'Handing inputs over',
      ))
        handles.release(done);
      // Before it begins: what anybody else holds, it cannot write into.
      spent.release();
      return add(
        taking.compiled,
        inputs.filter((_, position) => !taken.has(position)),
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
      log.guarded(() => places().forEach((place) => place.wait()));
      log.finished(log.last);
    },
    waitLater: async () => {
      await queue.drainLater();
      const upTo = log.last;
      for (const place of places()) {
        await place.waitLater().catch((error: unknown) => {
          throw log.recovered(error);
        });
      }
      log.finished(upTo);
    },
    dispose: () => {
      for (const place of places()) place.dispose();
      status.dispose();
    },
  };
}
