import { basename } from 'node:path';
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

/** TensorFlow on the processor. Throws with every reason why there is none. */
export async function chooseTensorflow(threads: number | null, options: EngineOptions): Promise<EngineChoice> {
  const library = await findTensorflow(options.tensorflowLibrary ?? null);
  if ('reasons' in library) throw new Error(library.reasons.join(', and '));
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
  return {
    options: { engine: 'xla', plugin: plugin.path, ...(threads === null ? {} : { threads }), ...(devices === null ? {} : { devices }) },
    title: (version) => `whetstone with XLA (${version}) from ${origins[plugin.source]}${devices === null || devices === 1 ? '' : `, on ${devices} devices`}`,
  };
}

/** The same for an accelerator. Throws {@link NoAccelerator} where the only plugin is one for CPUs, or none is there at all. */
export async function chooseAccelerator(options: EngineOptions, wishes: XlaWishes = {}): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin || /cpu/i.test(basename(plugin.path))) throw new NoAccelerator();
  return chooseXla(options, wishes);
}
