import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { backend, setBackend } from '@tensorflow/tfjs-core';
import { NoAcceleratorError } from './engine-choice.js';
import { runCommand } from './install/python.js';

/** Finds the file of an npm package. Throws if the package is not installed. */
export type FindPackage = (name: string) => string;

const requireHere = createRequire(import.meta.url);

export const findPackage: FindPackage = (name) => requireHere.resolve(name);

/**
 * Script of a separate process that multiplies two matrices with tfjs-node-gpu, and prints whether it used a GPU. Its
 * libtensorflow must not be loaded beside another one unless it is used.
 */
const probeScript = `
const [core, file] = process.argv.slice(1);
const { backend, matMul, setBackend, tensor2d } = await import(core);
await import(file);
if (!(await setBackend('tensorflow'))) throw new Error('could not start');
const matrix = tensor2d([1, 2, 3, 4], [2, 2]);
const product = [...(await matMul(matrix, matrix).data())].join();
if (product !== '7,10,15,22') throw new Error('its matrix product is [' + product + ']');
console.log('\\nuses a GPU: ' + (backend().isUsingGpuDevice === true));
`;

const TIMEOUT_MILLISECONDS = 60_000;

function fileOf(name: string, find: FindPackage): string {
  try {
    return find(name);
  } catch {
    throw new Error('not installed');
  }
}

const usesGpu = (): boolean => (backend() as { readonly isUsingGpuDevice?: unknown }).isUsingGpuDevice === true;

/** What {@link startTfjsNode} has started. */
interface StartedTfjsNode {
  readonly title: string;
  /** Whether it computes on a GPU. */
  readonly onGpu: boolean;
}

/** Starts tfjs-node or tfjs-node-gpu, on a GPU or not. Throws with the reason if it is not installed or fails. */
export async function startTfjsNode(name: string, find: FindPackage): Promise<StartedTfjsNode> {
  const { version } = (await import(pathToFileURL(fileOf(name, find)).href)) as {
    readonly version?: Readonly<Record<string, string>>;
  };
  if (!(await setBackend('tensorflow'))) throw new Error('could not start');
  return { title: `${name} ${version?.['tfjs-node'] ?? ''}`.trim(), onGpu: usesGpu() };
}

/**
 * Starts tfjs-node-gpu if it computes on a GPU.
 *
 * @throws `NoAcceleratorError` if it is not installed
 * @throws `Error` if it fails, or computes on the processor
 */
export async function startTfjsNodeOnGpu(find: FindPackage): Promise<StartedTfjsNode> {
  const name = '@tensorflow/tfjs-node-gpu';
  let file: string;
  try {
    file = find(name);
  } catch {
    throw new NoAcceleratorError();
  }
  const urls = [requireHere.resolve('@tensorflow/tfjs-core'), file].map((path) => pathToFileURL(path).href);
  const { code, stdout, stderr, startError } = await runCommand(
    process.execPath,
    ['--input-type=module', '--eval', probeScript, ...urls],
    { timeoutMilliseconds: TIMEOUT_MILLISECONDS },
  );
  if (code !== 0) {
    const reason = /Error: (.*)/.exec(stderr)?.[1] ?? startError ?? `a process with it ended with exit code ${code}`;
    throw new Error(reason);
  }
  if (!stdout.includes('uses a GPU: true')) throw new Error('it finds no GPU that it can use');
  const started = await startTfjsNode(name, find);
  if (!started.onGpu) throw new Error('it computes on the processor');
  return started;
}
