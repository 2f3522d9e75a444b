import { existsSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { libraryFileProblem } from './engines/library-file.js';
import { tensorflowFiles } from './engines/tensorflow/library.js';
import { loadingProblem } from './engines/try-loading.js';
import { findTensorflow, findXlaPlugin, type LibrarySource } from './install/index.js';
import type { WhetstoneBackend } from './recorder/backend.js';
import type { RegisterOptions } from './register.js';

/** Locations of libraries that replace the search for them. */
export interface EngineOptions {
  /** Folder of libtensorflow. */
  readonly tensorflowLibrary?: string | null;
  /** Path of a PJRT plugin. */
  readonly xlaPlugin?: string | null;
}

/** What an engine is started with. TensorFlow has one device. */
interface EngineRequest {
  /** Threads of an engine on the CPU; null for all cores. */
  readonly threads?: number | null;
  /** Number of devices; null for one. */
  readonly devices?: number | null;
}

/** An engine whose library was found. */
export interface EngineChoice {
  readonly options: RegisterOptions;
  /** Names the engine and where its library was found: "whetstone with TensorFlow 2.21.0 from the cache". */
  title(version: string): string;
}

const sourceNames: Readonly<Record<LibrarySource, string>> = {
  configuration: 'the configured path',
  environment: 'the environment',
  cache: 'the cache',
  python: 'the installed Python package',
};

/** Thrown if the machine has no accelerator. This is not reported as a failure. */
export class NoAcceleratorError extends Error {}

/**
 * Starts the first candidate that works. `started` is null if none does.
 *
 * @returns the started candidate, and the error of each earlier one except {@link NoAcceleratorError}
 */
export async function startFirst<C, S>(
  candidates: readonly C[],
  start: (candidate: C) => Promise<S>,
): Promise<{
  readonly started: { readonly candidate: C; readonly value: S } | null;
  readonly failures: readonly { readonly candidate: C; readonly error: unknown }[];
}> {
  const failures: { candidate: C; error: unknown }[] = [];
  for (const candidate of candidates) {
    try {
      return { started: { candidate, value: await start(candidate) }, failures };
    } catch (error) {
      if (!(error instanceof NoAcceleratorError)) failures.push({ candidate, error });
    }
  }
  return { started: null, failures };
}

/**
 * Loads a library in a child process first, so that a broken one cannot end this process. Libraries in the cache were
 * checked when they were downloaded.
 *
 * @throws `Error` with the reason if loading fails
 */
async function checkLoads(files: readonly string[], source: LibrarySource): Promise<void> {
  if (source === 'cache') return;
  // A file that is not a library gets a more precise error when the engine loads it.
  if (files.some((file) => libraryFileProblem(file) !== null)) return;
  const problem = await loadingProblem(files);
  if (problem !== null) throw new Error(`${files.at(-1) ?? 'the library'}: ${problem}`);
}

/** Returns TensorFlow on the CPU. Throws with every reason if it is not available. */
async function chooseTensorflow(options: EngineOptions, { threads }: EngineRequest): Promise<EngineChoice> {
  const library = await findTensorflow(options.tensorflowLibrary ?? null);
  if ('reasons' in library) throw new Error(library.reasons.join(', and '));
  await checkLoads(tensorflowFiles(library.folder), library.source);
  return {
    options: { libraryFolder: library.folder, threads: threads ?? undefined },
    title: (version) => `whetstone with TensorFlow ${version} from ${sourceNames[library.source]}`,
  };
}

/** Returns XLA with the first plugin found. Throws with every reason if there is none. */
async function chooseXla(options: EngineOptions, { threads, devices }: EngineRequest): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin) throw new Error(plugin.reasons.join(', and '));
  await checkLoads([plugin.path], plugin.source);
  const deviceCount = devices ?? 1;
  return {
    options: { engine: 'xla', plugin: plugin.path, threads: threads ?? undefined, devices: devices ?? undefined },
    title: (version) =>
      `whetstone with XLA (${version}) from ${sourceNames[plugin.source]}` +
      `${deviceCount === 1 ? '' : `, on ${deviceCount} devices`}`,
  };
}

/**
 * Checks that an engine computes on an accelerator: the name of a plugin does not prove it.
 *
 * @throws `Error` if its device is a processor, or software that stands in for a GPU
 */
function checkIsAccelerator({ engine }: WhetstoneBackend): void {
  if (!engine.device.isAccelerator)
    throw new Error(`the device ${engine.device.kind} of the XLA plugin computes on the processor`);
}

/** Accelerators with the device files that their plugins need on Linux. */
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
    hint: () => `npx @whetstone/backend install ${cudaForDriver()}`,
  },
  { plugin: /rocm/i, title: 'AMD GPU', files: ['/dev/kfd'], hint: () => 'npx @whetstone/backend install rocm7' },
];

/** Device file of any GPU under the Windows Subsystem for Linux. */
const WSL_GPU = '/dev/dxg';

/** Returns the CUDA release that the NVIDIA driver supports. CUDA 13 needs driver 580 or newer. */
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
 * Returns the machine's accelerators, each with the command that fetches its plugin. Returns null on systems other than
 * Linux, because they are unknown there.
 */
export function presentAccelerators(
  isThere: (path: string) => boolean = existsSync,
): readonly { readonly title: string; readonly hint: string }[] | null {
  if (process.platform !== 'linux') return null;
  return accelerators.filter(({ files }) => files.some(isThere)).map(({ title, hint }) => ({ title, hint: hint() }));
}

/**
 * Returns XLA on an accelerator.
 *
 * @throws `NoAcceleratorError` if there is neither an accelerator nor a plugin for one
 * @throws `Error` that names the missing one, if only one of the two is there
 */
async function chooseAccelerator(options: EngineOptions, request: EngineRequest): Promise<EngineChoice> {
  const plugin = await findXlaPlugin(options.xlaPlugin ?? null);
  if ('reasons' in plugin || /cpu/i.test(basename(plugin.path))) {
    const [present] = presentAccelerators() ?? [];
    if (present === undefined) throw new NoAcceleratorError();
    throw new Error(`there is an ${present.title}, but no XLA plugin for it (fetch one with \`${present.hint}\`)`);
  }
  const kind = accelerators.find((accelerator) => accelerator.plugin.test(plugin.path));
  // A plugin that the user named is tried on any machine.
  if (
    process.platform === 'linux' &&
    kind !== undefined &&
    ['cache', 'python'].includes(plugin.source) &&
    ![...kind.files, WSL_GPU].some((file) => existsSync(file))
  ) {
    throw new Error(`${plugin.path} is installed, but there is no ${kind.title}`);
  }
  return chooseXla(options, request);
}

/**
 * The engines of `whetstone`, from best to worst: the order in which they are tried. `check` throws if what was started
 * is not what the name says.
 */
export const engines = [
  { name: 'an accelerator', choose: chooseAccelerator, check: checkIsAccelerator },
  { name: 'tensorflow', choose: chooseTensorflow, check: () => undefined },
  { name: 'xla', choose: chooseXla, check: () => undefined },
] as const;

/** One of the {@link engines}. */
export type Engine = (typeof engines)[number];
