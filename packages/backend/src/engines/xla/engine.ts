import type { Program } from '../../recorder/program.js';
import type { DeviceArray, StorageDtype, TypedArray } from '../../recorder/types.js';
import { inHostMemory } from '../bytes.js';
import type { Describe, Engine, EngineTensor, Executable, SpentInputs } from '../engine.js';
import { XlaClient } from './client.js';
import { isSoftwareDevice } from '../../software-devices.js';
import { DeviceTensors } from './device-tensors.js';
import { flashAttentionSupport } from './flash-attention-support.js';
import { createModuleLoader, type ModuleCounters } from './modules.js';
import { clientOptions, type ClientOptions } from './options.js';
import { loadPjrt } from './pjrt.js';
import { Variants, type XlaExecutable } from './variants.js';
import { WorkQueue } from './work-queue.js';
import { withXlaThreads } from '../../tfjs-patches/environment.js';

export interface XlaEngineOptions {
  /** Path of the plugin: a shared library that exports `GetPjrtApi`. */
  readonly plugin: string;
  /** Threads of a CPU plugin; by default one per core. */
  readonly threads?: number;
  /** Number of devices to use; one by default. A CPU plugin creates that many. */
  readonly devices?: number;
  /** Whether a recording is submitted in segments while it grows; by default on accelerators only. */
  readonly inSegments?: boolean;
  /** Options of the plugin's client, in addition to the defaults of its platform. */
  readonly client?: ClientOptions;
  /** Programs that stay compiled, each for certain shapes; 512 by default. */
  readonly maxVariants?: number;
  /** Folder that stores compiled modules for other processes; by default one in the cache. Null stores none. */
  readonly moduleFolder?: string | null;
}

export interface XlaEngine extends Engine {
  /** Returns how many programs are compiled, each for certain shapes. */
  variants(): number;
  readonly moduleCounters: ModuleCounters;
}

/** Creates the engine on a PJRT plugin. Modules contain shapes, so a program is compiled for each set of shapes. */
export function createXlaEngine(options: XlaEngineOptions): XlaEngine {
  return new PjrtEngine(options);
}

class PjrtEngine implements XlaEngine {
  readonly name = 'xla';
  readonly version: string;
  readonly device: Engine['device'];
  readonly staticShapes = true;
  readonly reusesInputs = 'always';
  readonly runsInSegments: boolean;
  readonly devices: number;
  readonly flashAttention: Engine['flashAttention'];
  readonly moduleCounters: ModuleCounters;

  private readonly client: XlaClient;
  private readonly tensors: DeviceTensors;
  private readonly programVariants: Variants;
  private readonly queue: WorkQueue;
  private currentDevice: number | 'all' = 0;

  constructor(options: XlaEngineOptions) {
    const { devices = 1 } = options;
    const pjrt = loadPjrt(options.plugin);
    const client = withXlaThreads(
      options.threads,
      () => new XlaClient(pjrt, { ...clientOptions(options.plugin, devices), ...options.client }, devices),
    );
    const modules = createModuleLoader(client, options.moduleFolder, devices);
    this.client = client;
    this.tensors = new DeviceTensors(client, devices);
    this.programVariants = new Variants(client, this.tensors, modules, options.maxVariants ?? 512, devices);
    this.queue = new WorkQueue(client, this.tensors, this.programVariants);

    this.version = `PJRT ${pjrt.version}, ${client.platform} ${client.platformVersion}`;
    this.device = {
      kind: client.deviceKind,
      count: client.deviceCount,
      memoryBytes: client.memoryBytes(),
      isAccelerator: !isSoftwareDevice(client.platform, client.deviceKind),
    };
    this.devices = devices;
    // A CPU gains nothing from early submission: it also records. Its segments are found later (`lowered-program.ts`).
    this.runsInSegments = options.inSegments ?? client.platform !== 'cpu';
    this.flashAttention = flashAttentionSupport(
      client.platform,
      client.deviceAttributes.get('compute_capability') ?? null,
    );
    this.moduleCounters = modules.counters;
  }

  useDevice(device: number | 'all'): void {
    this.currentDevice = device;
  }

  compilations(): number {
    return this.programVariants.count;
  }

  variants(): number {
    return this.programVariants.size;
  }

  upload(type: StorageDtype, shape: readonly number[], values: DeviceArray): EngineTensor {
    return this.tensors.upload(type, shape, values, this.uploadDevice);
  }

  async uploadFrom(
    type: StorageDtype,
    shape: readonly number[],
    fill: (bytes: Uint8Array) => Promise<void>,
  ): Promise<EngineTensor> {
    // PJRT copies from host memory, so one tensor at a time is filled there first.
    const bytes = inHostMemory(type, shape, (length) => new Uint8Array(length));
    if (bytes.length > 0) await fill(bytes);
    return this.tensors.uploadBytes(type, shape, bytes, this.uploadDevice);
  }

  download(handle: EngineTensor, type: StorageDtype): TypedArray {
    const tensor = this.tensors.at(handle);
    this.queue.ensure(tensor);
    return this.client.download(this.tensors.anyBuffer(tensor), type, tensor.shape);
  }

  async downloadLater(handle: EngineTensor, type: StorageDtype): Promise<TypedArray> {
    const tensor = this.tensors.at(handle);
    tensor.uses++;
    try {
      await this.queue.ensureLater(tensor);
      return await this.client.downloadLater(this.tensors.anyBuffer(tensor), type, tensor.shape);
    } finally {
      this.tensors.endUse(tensor);
    }
  }

  release(handle: EngineTensor): void {
    this.tensors.release(handle);
  }

  compile(program: Program): XlaExecutable {
    return this.programVariants.executable(program);
  }

  run(given: Executable, handles: readonly EngineTensor[], describe: Describe, spent?: SpentInputs): EngineTensor[] {
    const executable = given as XlaExecutable;
    const { tensors } = this;
    const inputs = handles.map((handle) => tensors.at(handle));
    const spentInputs = new Set(spent?.positions);
    const variant = this.programVariants.find(executable, inputs, spentInputs, describe);
    const outputs = variant.outputs.map(({ type, shape }) => tensors.empty(type, shape));
    const subject = subjectOf(executable.program, describe);
    this.queue.add({ variant, inputs, outputs, spent: spentInputs, device: this.currentDevice, subject });
    return outputs.map((output) => tensors.add(output));
  }

  runEagerly(program: Program, inputs: readonly EngineTensor[], describe: Describe): EngineTensor[] {
    const executable = this.compile(program);
    try {
      return this.run(executable, inputs, describe);
    } finally {
      executable.dispose();
    }
  }

  wait(): void {
    this.queue.drain();
    this.client.wait();
  }

  async waitLater(): Promise<void> {
    await this.queue.drainLater();
    await this.client.waitLater();
  }

  dispose(): void {
    this.queue.drain();
    this.programVariants.dispose();
    this.tensors.dispose();
  }

  /** The device that receives uploaded tensors. */
  private get uploadDevice(): number {
    return this.currentDevice === 'all' ? 0 : this.currentDevice;
  }
}

/** Names a program in error messages: its operation, or the number of operations and the first of them. */
function subjectOf(program: Program, describe: Describe): string {
  return program.steps.length === 1
    ? describe(0)
    : `${program.name} of ${program.steps.length} operations, the first ${describe(0)},`;
}
