import { existsSync, readFileSync } from 'node:fs';
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

const origins: Readonly<Record<LibrarySource, string>> = {
  configuration: 'the configured place',
  environment: 'the environment',
  cache: 'the cache',
  python: 'the installed Python package',
};

/** No accelerator is there to be used: not a failure worth a word. */
export class NoAcceleratorError extends Error {}

/**
 * What was fetched and checked by us is known to load; anything else shows it in a process of its own, so that it
 * cannot take this one down.
 */
async function checkLoads(files: readonly string[], source: LibrarySource): Promise<void> {
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
  await checkLoads(tensorflowFiles(library.folder), library.source);
  return {
    options: { libraryFolder: library.folder, ...(threads === null ? {} : { threads }) },
    title: (version) => `whetstone with TensorFlow ${version} from ${origins[library.source]}`,
  };
}

export interface XlaRequest {
  /** Threads of a CPU plugin; null for every core. */
  readonly threads?: number | null;
  /** Devices that are used; null for one. */
  readonly devices?: number | null;
}

/** XLA on whatever plugin is found. Throws with every reason why there is none. */
export async function chooseXla(
  options: EngineOptions,
  { threads = null, devices = null }: XlaRequest = {},
): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin) throw new Error(plugin.reasons.join(', and '));
  await checkLoads([plugin.path], plugin.source);
  return {
    options: {
      engine: 'xla',
      plugin: plugin.path,
      ...(threads === null ? {} : { threads }),
      ...(devices === null ? {} : { devices }),
    },
    title: (version) =>
      `whetstone with XLA (${version}) from ` +
      `${origins[plugin.source]}${devices === null || devices === 1 ? '' : `, on ${devices} devices`}`,
  };
}

/**
 * Accelerators by the device files without which a plugin cannot find one, on Linux. `/dev/dxg` is any GPU of Windows
 * beneath.
 */
const accelerators: readonly {
  readonly plugin: RegExp;
  readonly title: string;
  readonly files: readonly string[];
  readonly hint: () => string;
}[] = [
  {
    plugin: /cuda/i,
    title: 'NVIDIA GPU',
    files: ['/dev/nvidiactl', '/dev/nvidia0'],
    hint: () => `npx whetstone backend install ${cudaForDriver()}`,
  },
  { plugin: /rocm/i, title: 'AMD GPU', files: ['/dev/kfd'], hint: () => 'npx whetstone backend install rocm7' },
];

/** What this machine's NVIDIA driver supports: CUDA 13 asks for version 580 at least. */
export function cudaForDriver(version: string | null = readDriverVersion()): 'cuda12' | 'cuda13' {
  const major = Number(/\s(\d+)\.\d/.exec(version ?? '')?.[1]);
  return major >= 580 ? 'cuda13' : 'cuda12';
}

function readDriverVersion(): string | null {
  try {
    return readFileSync('/proc/driver/nvidia/version', 'latin1');
  } catch {
    return null;
  }
}

/**
 * Accelerators that the system has device files for, each with the command that fetches its plugin; null where the
 * system does not tell (it is not Linux).
 */
export function presentAccelerators(
  isThere: (path: string) => boolean = existsSync,
): readonly { readonly title: string; readonly hint: string }[] | null {
  if (process.platform !== 'linux') return null;
  return accelerators.filter(({ files }) => files.some(isThere)).map(({ title, hint }) => ({ title, hint: hint() }));
}

/**
 * The same for an accelerator. Throws {@link NoAcceleratorError} where there is neither a plugin for one nor, as far as
 * the system tells, one; an error that says what is missing where there is one of the two.
 */
export async function chooseAccelerator(options: EngineOptions, wishes: XlaRequest = {}): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin || /cpu/i.test(basename(plugin.path))) {
    const [present] = presentAccelerators() ?? [];
    if (present === undefined) throw new NoAcceleratorError();
    throw new Error(`there is an ${present.title}, but no XLA plugin for it (${present.hint})`);
  }
  const kind = accelerators.find((one) => one.plugin.test(plugin.path));
  // What was named is tried, whatever the machine looks like.
  if (
    process.platform === 'linux' &&
    kind !== undefined &&
    ['cache', 'python'].includes(plugin.source) &&
    ![...kind.files, '/dev/dxg'].some((file) => existsSync(file))
  ) {
    throw new Error(`${plugin.path} is there, but no ${kind.title} is`);
  }
  return chooseXla(options, wishes);
}
