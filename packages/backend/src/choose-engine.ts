import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { libraryFileProblem } from './engines/library-file.js';
import { tensorflowFiles } from './engines/tensorflow/library.js';
import { loadingProblem } from './engines/try-loading.js';
import { findTensorflow, findXlaPlugin, type LibrarySource } from './install/index.js';
import type { RegisterOptions } from './register.js';

/** Where libraries are, if not where they would be found. */
export interface EngineOptions {
  /** Folder of a libtensorflow to use instead of the one that would be found. */
  readonly tensorflowLibrary?: string | null;
  /** A PJRT plugin to use instead of the one that would be found. */
  readonly xlaPlugin?: string | null;
}

/** An engine that could be started, and where its library comes from, in words. */
export interface EngineChoice {
  readonly options: RegisterOptions;
  /** `(version) => 'whetstone with TensorFlow 2.21.0 from the cache'`. */
  title(version: string): string;
}

const origins: Readonly<Record<LibrarySource, string>> = { configuration: 'the configured place', environment: 'the environment', cache: 'the cache', python: 'the installed Python package' };

/** No accelerator is there to be used: not a failure worth a word. */
export class NoAccelerator extends Error {}

/** What was fetched and checked by us is known to load; anything else shows it in a process of its own, so that it cannot take this one down. */
async function refuseHarm(files: readonly string[], source: LibrarySource): Promise<void> {
  if (source === 'cache') return;
  // A file that is no library at all is refused with its own words later on.
  if (files.some((file) => libraryFileProblem(file) !== null)) return;
  const problem = await loadingProblem(files);
  if (problem !== null) throw new Error(`${files.at(-1) ?? 'the library'}: ${problem}`);
}

/** TensorFlow on the processor. Throws with every reason why there is none. */
export async function chooseTensorflow(threads: number | null, options: EngineOptions): Promise<EngineChoice> {
  const library = await findTensorflow(options.tensorflowLibrary ?? null);
  if ('reasons' in library) throw new Error(library.reasons.join(', and '));
  await refuseHarm(tensorflowFiles(library.folder), library.source);
  return {
    options: { libraryFolder: library.folder, ...(threads === null ? {} : { threads }) },
    title: (version) => `whetstone with TensorFlow ${version} from ${origins[library.source]}`,
  };
}

export interface XlaWishes {
  /** Threads of a CPU plugin; null for every core. */
  readonly threads?: number | null;
  /** Devices that are used; null for one. */
  readonly devices?: number | null;
}

/** XLA on whatever plugin is found. Throws with every reason why there is none. */
export async function chooseXla(options: EngineOptions, { threads = null, devices = null }: XlaWishes = {}): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin) throw new Error(plugin.reasons.join(', and '));
  await refuseHarm([plugin.path], plugin.source);
  return {
    options: { engine: 'xla', plugin: plugin.path, ...(threads === null ? {} : { threads }), ...(devices === null ? {} : { devices }) },
    title: (version) => `whetstone with XLA (${version}) from ${origins[plugin.source]}${devices === null || devices === 1 ? '' : `, on ${devices} devices`}`,
  };
}

/** Device files without which a plugin cannot find its device, on Linux. */
const deviceFiles: readonly { readonly plugin: RegExp; readonly title: string; readonly files: readonly string[] }[] = [
  { plugin: /cuda/i, title: 'NVIDIA GPU', files: ['/dev/nvidiactl', '/dev/nvidia0', '/dev/dxg'] },
  { plugin: /rocm/i, title: 'AMD GPU', files: ['/dev/kfd', '/dev/dxg'] },
];

/** The same for an accelerator. Throws {@link NoAccelerator} where the only plugin is one for CPUs, or none is there at all. */
export async function chooseAccelerator(options: EngineOptions, wishes: XlaWishes = {}): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin || /cpu/i.test(basename(plugin.path))) throw new NoAccelerator();
  const kind = deviceFiles.find((one) => one.plugin.test(plugin.path));
  // What was named is tried, whatever the machine looks like.
  if (process.platform === 'linux' && kind !== undefined && ['cache', 'python'].includes(plugin.source) && !kind.files.some((file) => existsSync(file))) {
    throw new Error(`${plugin.path} is there, but no ${kind.title} is`);
  }
  return chooseXla(options, wishes);
}
