import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from '../../install/cache-folder.js';
import type { Program } from '../../recorder/program.js';
import { bytesPerElement, sizeOf, type PhysicalType, type TypedArray } from '../../recorder/types.js';
import type { Describe, Engine, EngineTensor, Executable } from '../engine.js';
import { XlaClient, type ClientOptions, type LoadedExecutable } from './client.js';
import { openModuleCache } from './module-cache.js';
import { clientOptions } from './options.js';
import { loadPjrt, type Pointer } from './pjrt.js';
import { lower, type LoweredModule } from './stablehlo/lower.js';

export interface XlaEngineOptions {
  /** The plugin: a shared library that exports `GetPjrtApi`. */
  readonly plugin: string;
  /** Options for the plugin's client besides those that its platform is given anyway. */
  readonly client?: ClientOptions;
  /** Most modules kept compiled. */
  readonly mostModules?: number;
  /** Folder for compiled modules, for other processes; null to keep none. By default one in the cache. */
  readonly moduleFolder?: string | null;
  /** Milliseconds of compiling from which on a module is kept there. */
  readonly compileTimeWorthKeeping?: number;
}

/** A module that took longer to compile than this, in milliseconds, is worth a file. */
const WORTH_KEEPING = 150;

/** A module that computes fewer numbers than this runs in milliseconds however it is compiled. */
const LITTLE_WORK = 3_000_000;

export interface XlaEngine extends Engine {
  /** How many modules are compiled and kept. */
  modules(): number;
}

/** Up to this many numbers the host keeps a copy, because they may turn out to be a shape. */
const MOST_KEPT = 4096;

interface Tensor {
  readonly type: PhysicalType;
  readonly shape: readonly number[];
  readonly values: TypedArray | null;
  /** Type and shape as one number, and the content as another once somebody asked. */
  readonly signature: number;
  content: number;
  buffer: Pointer | null;
}

/** A program for certain shapes, compiled. */
interface Variant {
  readonly module: LoweredModule;
  readonly loaded: LoadedExecutable;
  readonly shapes: readonly (readonly number[])[];
}

interface XlaExecutable extends Executable {
  /** Which inputs' contents earlier variants depend on: nearly always one list for all. */
  readonly fixedLists: (readonly number[])[];
  readonly variants: Map<string, Variant>;
}

/** Numbers for strings, given out in order. */
class Numbering {
  private readonly numbers = new Map<string, number>();

  of(text: string): number {
    let number = this.numbers.get(text);
    if (number === undefined) this.numbers.set(text, (number = this.numbers.size));
    return number;
  }
}

const linePattern = /(?:^|\n)[^\n:]*:(\d+):\d+: error/;

/** The engine on a PJRT plugin. Shapes are part of a compiled module, so one program has a module for each set of shapes that it meets. */
export function createXlaEngine(options: XlaEngineOptions): XlaEngine {
  const pjrt = loadPjrt(options.plugin);
  const client = new XlaClient(pjrt, { ...clientOptions(options.plugin), ...options.client });
  const folder = options.moduleFolder === undefined ? join(cacheFolder(), 'xla-modules') : options.moduleFolder;
  const cache = folder === null ? null : openModuleCache(folder, { path: options.plugin, version: `${pjrt.version} ${client.platformVersion}`, device: `${client.deviceKind} × ${client.deviceCount}` });

  /** The module from disk where one is there that loads, else compiled. */
  const load = ({ text, work }: LoweredModule, subject: string): LoadedExecutable => {
    const hastily = client.platform === 'cpu' && work < LITTLE_WORK;
    const key = cache?.keyOf(hastily ? `hastily ${text}` : text);
    const bytes = key === undefined ? undefined : cache?.load(key);
    if (key !== undefined && bytes) {
      try {
        return client.deserialize(bytes);
      } catch {
        cache?.forget(key);
      }
    }
    const started = performance.now();
    const loaded = client.compile(text, subject, { hastily });
    if (key !== undefined && performance.now() - started > (options.compileTimeWorthKeeping ?? WORTH_KEEPING)) {
      try {
        cache?.save(key, client.serialize(loaded));
      } catch {
        // A plugin that cannot serialise its modules compiles them in each process.
      }
    }
    return loaded;
  };

  const tensors = new Map<EngineTensor, Tensor>();
  const numbering = new Numbering();
  let handles = 1n;

  const keep = (tensor: Tensor): EngineTensor => {
    const handle = handles++;
    tensors.set(handle, tensor);
    return handle;
  };
  const at = (handle: EngineTensor): Tensor => {
    const tensor = tensors.get(handle);
    if (tensor === undefined) throw new WhetstoneError('INTERNAL', 'A tensor of the xla engine was used after it was freed.');
    return tensor;
  };
  const signatureOf = (type: PhysicalType, shape: readonly number[]): number => numbering.of(`${type}[${shape.join()}]`);
  const contentOf = (tensor: Tensor): number => {
    if (tensor.content < 0) tensor.content = numbering.of(`=${tensor.values === null ? '?' : tensor.values.join()}`);
    return tensor.content;
  };
  const bufferOf = (tensor: Tensor): Pointer => (tensor.buffer ??= client.upload(tensor.type, tensor.shape, tensor.values ?? new Uint8Array(0)));

  /** Which modules there are, the one used longest ago first. */
  const recent = new Map<Variant, () => void>();
  const touch = (variant: Variant, forget: () => void): void => {
    recent.delete(variant);
    recent.set(variant, forget);
    for (const [oldest, drop] of recent) {
      if (recent.size <= (options.mostModules ?? 512)) return;
      recent.delete(oldest);
      drop();
      client.dispose(oldest.loaded);
    }
  };

  const keyOf = (inputs: readonly Tensor[], fixed: readonly number[]): string => {
    let key = '';
    for (const { signature } of inputs) key += `${signature},`;
    for (const number of fixed) key += `;${contentOf(inputs[number] as Tensor)}`;
    return key;
  };

  const build = (program: Program, inputs: readonly Tensor[], describe: Describe): Variant => {
    const module = lower(program, inputs, describe);
    try {
      return { module, loaded: load(module, `Compiling ${program.name}`), shapes: outputShapes(module.text) };
    } catch (error) {
      if (!(error instanceof WhetstoneError)) throw error;
      const line = linePattern.exec(String(error.details['xlaMessage'] ?? ''))?.[1];
      const step = line === undefined ? null : module.stepOfLine(Number(line));
      if (step === null) throw error;
      throw new WhetstoneError('BACKEND_FAILED', `${describe(step)}: ${error.message}`, { cause: error, details: { ...error.details, operation: describe(step), line: module.text.split('\n')[Number(line) - 1] ?? '' } });
    }
  };

  const variantOf = (executable: XlaExecutable, inputs: readonly Tensor[], describe: Describe): Variant => {
    for (const fixed of executable.fixedLists) {
      const found = executable.variants.get(keyOf(inputs, fixed));
      if (found !== undefined && sameList(found.module.fixed, fixed)) return found;
    }
    const made = build(executable.program, inputs, describe);
    const { fixed } = made.module;
    if (!executable.fixedLists.some((list) => sameList(list, fixed))) executable.fixedLists.push(fixed);
    executable.variants.set(keyOf(inputs, fixed), made);
    return made;
  };

  const run = (given: Executable, handlesOfInputs: readonly EngineTensor[], describe: Describe): EngineTensor[] => {
    const executable = given as XlaExecutable;
    const inputs = handlesOfInputs.map(at);
    const variant = variantOf(executable, inputs, describe);
    touch(variant, () => {
      for (const [key, kept] of executable.variants) if (kept === variant) executable.variants.delete(key);
    });
    const buffers = variant.module.arguments.map((number) => bufferOf(inputs[number] as Tensor));
    const subject = executable.program.steps.length === 1 ? describe(0) : `${executable.program.name} of ${executable.program.steps.length} operations, the first ${describe(0)},`;
    const results = client.execute(variant.loaded, buffers, [], subject);
    return results.map((buffer, position) => {
      const type = executable.program.types[executable.program.outputs[position] ?? 0] ?? 'float32';
      const shape = variant.shapes[position] ?? [];
      return keep({ type, shape, values: null, signature: signatureOf(type, shape), content: -1, buffer });
    });
  };

  const compile = (program: Program): XlaExecutable => {
    const variants = new Map<string, Variant>();
    const dispose = (): void => {
      for (const variant of variants.values()) {
        if (!recent.delete(variant)) continue;
        client.dispose(variant.loaded);
      }
      variants.clear();
    };
    return { program, fixedLists: [], variants, dispose };
  };

  return {
    name: 'xla',
    version: `PJRT ${pjrt.version}, ${client.platform} ${client.platformVersion}`,
    staticShapes: true,
    modules: () => recent.size,
    upload: (type, shape, values) => {
      // Packed weights are no shapes.
      const kept = values.length <= MOST_KEPT && (values instanceof Float32Array || values instanceof Int32Array || type === 'bool') ? (values.slice() as TypedArray) : null;
      // Small tensors go to the device when somebody computes with them: shapes never do.
      const tensor: Tensor = { type, shape, values: kept, signature: signatureOf(type, shape), content: -1, buffer: kept === null ? client.upload(type, shape, values) : null };
      return keep(tensor);
    },
    uploadFrom: async (type, shape, fill) => {
      // A device of its own needs the bytes on the host first: those of one tensor at a time.
      const bytes = new Uint8Array(sizeOf(shape) * bytesPerElement[type]);
      if (bytes.length > 0) await fill(bytes);
      return keep({ type, shape, values: null, signature: signatureOf(type, shape), content: -1, buffer: client.uploadBytes(type, shape, bytes) });
    },
    download: (handle, type, size) => client.download(bufferOf(at(handle)), type, size),
    downloadLater: (handle, type, size) => client.downloadLater(bufferOf(at(handle)), type, size),
    release: (handle) => {
      const tensor = tensors.get(handle);
      if (tensor === undefined) return;
      tensors.delete(handle);
      if (tensor.buffer !== null) client.release(tensor.buffer);
    },
    compile,
    run,
    runEagerly: (program, inputs, describe) => {
      const executable = compile(program);
      try {
        return run(executable, inputs, describe);
      } finally {
        executable.dispose();
      }
    },
    wait: () => client.wait(),
    waitLater: () => client.waitLater(),
    dispose: () => {
      for (const variant of recent.keys()) client.dispose(variant.loaded);
      recent.clear();
      for (const { buffer } of tensors.values()) if (buffer !== null) client.release(buffer);
      tensors.clear();
    },
  };
}

const sameList = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((item, position) => item === b[position]);

/** Shapes of a module's results, as its head spells them. */
function outputShapes(text: string): number[][] {
  const head = text.slice(0, text.indexOf('\n'));
  const results = head.slice(head.lastIndexOf('-> (') + 4, head.lastIndexOf(')'));
  return [...results.matchAll(/tensor<((?:\d+x)*)[a-z]+\d+>/g)].map(([, dimensions = '']) => dimensions.split('x').filter((size) => size !== '').map(Number));
}
