import type { Program } from '../../recorder/program.js';
import { inHostMemory } from '../bytes.js';
import type { Describe, Engine, EngineTensor, Executable, SpentInputs } from '../engine.js';
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
  /** The plugin: a shared library that exports `GetPjrtApi`. */
  readonly plugin: string;
  /** Threads of a CPU plugin; every core by default. */
  readonly threads?: number;
  /** How many of the plugin's devices are used; one by default. A CPU plugin makes as many. */
  readonly devices?: number;
  /** Whether a recording is handed over in pieces as it grows; by default on all platforms but a CPU's. */
  readonly inPieces?: boolean;
  /** Options for the plugin's client besides those that its platform is given anyway. */
  readonly client?: ClientOptions;
  /** Most modules kept compiled. */
  readonly mostModules?: number;
  /** Folder for compiled modules, for other processes; null to keep none. By default one in the cache. */
  readonly moduleFolder?: string | null;
}

export interface XlaEngine extends Engine {
  /** How many modules are compiled and kept. */
  modules(): number;
  readonly moduleCounters: ModuleCounters;
}

/**
 * The engine on a PJRT plugin. Shapes are part of a compiled module, so one program has a module for each set of shapes
 * that it meets.
 */
export function createXlaEngine(options: XlaEngineOptions): XlaEngine {
  const { devices = 1 } = options;
  const pjrt = loadPjrt(options.plugin);
  const client = withXlaThreads(
    options.threads,
    () => new XlaClient(pjrt, { ...clientOptions(options.plugin, devices), ...options.client }, devices),
  );
  const modules = createModuleLoader(client, options.moduleFolder, devices);
  const tensors = new DeviceTensors(client, devices);
  const variants = new Variants(client, tensors, modules, options.mostModules ?? 512, devices);
  const queue = new WorkQueue(client, tensors, variants);
  let device: number | 'all' = 0;
  const first = (): number => (device === 'all' ? 0 : device);

  const run = (
    given: Executable,
    handles: readonly EngineTensor[],
    describe: Describe,
    spent?: SpentInputs,
  ): EngineTensor[] => {
    const executable = given as XlaExecutable;
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
    return outputs.map((output) => tensors.keep(output));
  };

  return {
    name: 'xla',
    version: `PJRT ${pjrt.version}, ${client.platform} ${client.platformVersion}`,
    device: { kind: client.deviceKind, count: client.deviceCount, memoryBytes: client.memoryBytes() },
    staticShapes: true,
    // A processor has no time of its own in which the host could record, and is given the like parts of the whole
    // (`stages.ts`).
    runsInSegments: options.inPieces ?? client.platform !== 'cpu',
    compilations: () => variants.made,
    reusesInputs: 'always',
    flashAttention: flashAttentionSupport(client.platform, client.deviceAttributes.get('compute_capability') ?? null),
    devices,
    useDevice: (chosen) => void (device = chosen),
    modules: () => variants.size,
    moduleCounters: modules.counters,
    upload: (type, shape, values) => tensors.upload(type, shape, values, first()),
    uploadFrom: async (type, shape, fill) => {
      // A device of its own needs the bytes on the host first: those of one tensor at a time.
      const bytes = inHostMemory(type, shape, (length) => new Uint8Array(length));
      if (bytes.length > 0) await fill(bytes);
      return tensors.uploadBytes(type, shape, bytes, first());
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
        tensors.used(tensor);
      }
    },
    release: (handle) => tensors.release(handle),
    compile: (program: Program) => variants.executable(program),
    run,
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
