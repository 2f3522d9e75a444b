import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Program } from '../../recorder/program.js';
import type { DeviceArray, StorageDtype, TypedArray } from '../../recorder/types.js';
import type { Describe, Engine, EngineCollective, EngineTensor, Executable, SpentInputs } from '../engine.js';
import { executeAsync } from './async-execution.js';
import { joinCluster } from './collectives.js';
import { CompiledFunction } from './compiled-function.js';
import { createLocalCollective } from './local-sums.js';
import type { SessionConfig } from './config-proto.js';
import { runEagerly } from './eager.js';
import { openExecutionContext, type ExecutionContext } from './execution-context.js';
import { Handles } from './handles.js';
import { loadTensorflowLibrary, type TensorflowLibrary } from './library.js';
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
  return new TensorflowEngine(options);
}

class TensorflowEngine implements Engine {
  readonly name = 'tensorflow';
  readonly version: string;
  readonly device = {
    kind: cpus()[0]?.model.trim() ?? process.arch,
    count: 1,
    memoryBytes: totalmem(),
    isAccelerator: false,
  };
  readonly staticShapes = false;
  readonly reusesInputs = 'in updates';
  readonly gainsFromConcurrency: true | undefined;
  readonly collective: EngineCollective | undefined;

  private readonly library: TensorflowLibrary;
  private readonly status: Status;
  private readonly threads: number;
  private readonly main: ExecutionContext;
  /** Context for concurrent programs, with half of the threads per operation; opened on first use. */
  private halved: ExecutionContext | null = null;
  private readonly log: RunLog;
  private readonly handles: Handles;
  private readonly queue: WorkQueue;
  private compiled = 0;

  constructor(private readonly options: TensorflowEngineOptions) {
    this.library = loadTensorflowLibrary(options.libraryFolder);
    this.version = this.library.version;
    this.status = new Status(this.library);
    this.threads = Math.max(1, options.threads ?? availableParallelism());
    this.main = this.openContext(this.threads);
    if (options.cluster === undefined) this.gainsFromConcurrency = true;
    else if (options.cluster.local === undefined)
      this.collective = joinCluster(this.library, this.main.pointer, options.cluster);
    else
      this.collective = createLocalCollective(this.library, this.main, options.cluster, options.cluster.local, (work) =>
        this.queue.add({ ...work, run: (pointers) => this.log.guarded(() => work.run(pointers)) }),
      );
    this.log = new RunLog(
      this.library,
      () => this.contexts().map(({ pointer }) => pointer),
      this.collective === undefined,
    );
    this.handles = new Handles((handle) => this.library.TFE_DeleteTensorHandle(handle));
    this.queue = new WorkQueue(this.handles, this.log);
  }

  compilations(): number {
    return this.compiled;
  }

  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray): EngineTensor {
    return upload(this.library, this.status, type, shape, values);
  }

  uploadFrom(
    type: StorageDtype,
    shape: readonly number[],
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<EngineTensor> {
    return uploadFrom(this.library, type, shape, fill);
  }

  download(tensor: EngineTensor, type: StorageDtype, size: number): TypedArray {
    this.queue.ensure(tensor);
    const values = this.log.guarded(() => download(this.library, this.status, this.handles.handle(tensor), type, size));
    this.log.finished(this.log.last);
    return values;
  }

  async downloadLater(tensor: EngineTensor, type: StorageDtype, size: number): Promise<TypedArray> {
    this.handles.use(tensor);
    try {
      await this.queue.ensureLater(tensor);
      const handle = this.handles.handle(tensor);
      const upTo = this.log.last;
      try {
        const values = await downloadLater(this.library, handle, type, size);
        this.log.finished(upTo);
        return values;
      } catch (error) {
        throw this.log.recovered(error);
      }
    } finally {
      this.handles.endUse(tensor);
    }
  }

  release(tensor: EngineTensor): void {
    this.handles.release(tensor);
  }

  compile(program: Program, describe: Describe): Executable {
    this.compiled++;
    return new CompiledFunction(this.library, this.contextFor(program).pointer, this.status, program, describe);
  }

  run(
    executable: Executable,
    inputs: readonly EngineTensor[],
    describe: Describe,
    spent?: SpentInputs,
  ): EngineTensor[] {
    const compiled = executable as CompiledFunction;
    const donating =
      spent === undefined || spent.positions.length === 0 ? null : compiled.donating(spent.positions, describe);
    if (spent === undefined || donating === null) return this.add(compiled, inputs, describe);
    const donated = new Set(donating.positions);
    const given = donating.positions.map((position) => inputs[position] ?? 0n);
    for (const stored of this.add(donating.store, given, () => 'Storing donated inputs')) this.handles.release(stored);
    // Before the run: TensorFlow writes only to memory that has no other owner.
    spent.release();
    const others = inputs.filter((_, position) => !donated.has(position));
    return this.add(donating.compiled, others, describe);
  }

  runEagerly(program: Program, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[] {
    return this.queue.add({
      compiled: null,
      inputs,
      results: program.outputs.length,
      run: (pointers) => {
        this.log.remember(null, program, describe);
        return this.log.guarded(() => runEagerly(this.library, this.main.emitter, program, pointers));
      },
    });
  }

  wait(): void {
    this.queue.drain();
    this.log.guarded(() => {
      for (const context of this.contexts()) context.wait();
    });
    this.log.finished(this.log.last);
  }

  async waitLater(): Promise<void> {
    await this.queue.drainLater();
    const upTo = this.log.last;
    for (const context of this.contexts()) {
      await context.waitLater().catch((error: unknown) => {
        throw this.log.recovered(error);
      });
    }
    this.log.finished(upTo);
  }

  dispose(): void {
    for (const context of this.contexts()) context.dispose();
    this.status.dispose();
  }

  /** Queues a compiled function and returns its results. */
  private add(compiled: CompiledFunction, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[] {
    const { name, program } = compiled;
    const results = program.outputs.length;
    return this.queue.add({
      compiled,
      inputs,
      results,
      run: (pointers) => {
        this.log.remember(name, program, describe);
        return this.log.guarded(() => this.contextFor(program).emitter.execute(name, pointers, {}, results));
      },
      runLater: (pointers) => {
        this.log.remember(name, program, describe);
        const operation = this.contextFor(program).emitter.operation(name, pointers, {});
        return executeAsync(this.library, operation, new Status(this.library), results, (error) =>
          this.log.recovered(error),
        );
      },
    });
  }

  private openContext(operationThreads: number): ExecutionContext {
    return openExecutionContext(this.library, this.status, {
      ...this.options,
      threads: this.threads,
      operationThreads,
    });
  }

  private contexts(): readonly ExecutionContext[] {
    return this.halved === null ? [this.main] : [this.main, this.halved];
  }

  /** Returns the context that a program runs in. A cluster has only one. */
  private contextFor({ concurrent }: Program): ExecutionContext {
    if (concurrent !== true || this.collective !== undefined) return this.main;
    return (this.halved ??= this.openContext(Math.ceil(this.threads / 2)));
  }
}
