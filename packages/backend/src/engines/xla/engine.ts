import type { Program } from '../../recorder/program.js';
import { inHostMemory } from '../bytes.js';
import type { Describe, Engine, EngineTensor, SpentInputs } from '../engine.js';
import { XlaClient } from './client.js';
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
  const { devices = 1 } = options;
  const pjrt = loadPjrt(options.plugin);
  const client = withXlaThreads(
    options.threads,
    () => new XlaClient(pjrt, { ...clientOptions(options.plugin, devices), ...options.client }, devices),
  );
  const modules = createModuleLoader(client, options.moduleFolder, devices);
  const tensors = new DeviceTensors(client, devices);
  const variants = new Variants(client, tensors, modules, options.maxVariants ?? 512, devices);
  const queue = new WorkQueue(client, tensors, variants);
  let device: number | 'all' = 0;
  const uploadDevice = (): number => (device === 'all' ? 0 : device);

  const run = (
    executable: XlaExecutable,
    handles: readonly EngineTensor[],
    describe: Describe,
    spent?: SpentInputs,
  ): EngineTensor[] => {
    const { program } = executable;
    const inputs = handles.map((handle) => tensors.at(handle));
    const spentInputs = new Set(spent?.positions);
    const variant = variants.find(executable, inputs, spentInputs, describe);
    const outputs = variant.outputs.map(({ type, shape }) => tensors.empty(type, shape));
    const subject =
      program.steps.length === 1
        ? describe(0)
        : `${program.name} of ${program.steps.length} operations, the first ${describe(0)},`;
    queue.add({ variant, inputs, outputs, spent: spentInputs, device, subject });
    return outputs.map((output) => tensors.add(output));
  };

  return {
    name: 'xla',
    version: `PJRT ${pjrt.version}, ${client.platform} ${client.platformVersion}`,
    device: { kind: client.deviceKind, count: client.deviceCount, memoryBytes: client.memoryBytes() },
    staticShapes: true,
    // A CPU gains nothing from early submission: it also records. Its segments are found later (`lowered-program.ts`).
    runsInSegments: options.inSegments ?? client.platform !== 'cpu',
    compilations: () => variants.count,
    reusesInputs: 'always',
    flashAttention: flashAttentionSupport(client.platform, client.deviceAttributes.get('compute_capability') ?? null),
    devices,
    useDevice: (chosen) => void (device = chosen),
    variants: () => variants.size,
    moduleCounters: modules.counters,
    upload: (type, shape, values) => tensors.upload(type, shape, values, uploadDevice()),
    uploadFrom: async (type, shape, fill) => {
      // PJRT copies from host memory, so one tensor at a time is filled there first.
      const bytes = inHostMemory(type, shape, (length) => new Uint8Array(length));
      if (bytes.length > 0) await fill(bytes);
      return tensors.uploadBytes(type, shape, bytes, uploadDevice());
    },
    download: (handle, type) => {
      const tensor = tensors.at(handle);
      queue.ensure(tensor);
      return client.download(tensors.anyBuffer(tensor), type, tensor.shape);
    },
    downloadLater: async (handle, type) => {
      const tensor = tensors.at(handle);
      tensor.uses++;
      try {
        await queue.ensureLater(tensor);
        return await client.downloadLater(tensors.anyBuffer(tensor), type, tensor.shape);
      } finally {
        tensors.endUse(tensor);
      }
    },
    release: (handle) => tensors.release(handle),
    compile: (program: Program) => variants.executable(program),
    run: (executable, inputs, describe, spent) => run(executable as XlaExecutable, inputs, describe, spent),
    runEagerly: (program, inputs, describe) => {
      const executable = variants.executable(program);
      try {
        return run(executable, inputs, describe);
      } finally {
        executable.dispose();
      }
    },
    wait: () => {
      queue.drain();
      client.wait();
    },
    waitLater: async () => {
      await queue.drainLater();
      await client.waitLater();
    },
    dispose: () => {
      queue.drain();
      variants.dispose();
      tensors.dispose();
    },
  };
}
