import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { backend, getBackend, matMul, setBackend, tensor2d } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type BackendResolver,
  type Logger,
  type TensorBackendInfo,
  type TensorCluster,
  type TensorCollective,
  type TensorReplicas,
} from '@whetstone/core/contract';
import { createCollective } from './collectives/collective.js';
import { useCpuBackend } from './fallback/cpu.js';
import { useWasmBackend } from './fallback/wasm.js';
import {
  chooseAccelerator,
  chooseTensorflow,
  chooseXla,
  NoAcceleratorError,
  type EngineChoice,
  type EngineOptions,
} from './engine-choice.js';
import { WhetstoneBackend } from './recorder/backend.js';
import { BACKEND_NAME, registerWhetstoneBackend, type RegisterOptions } from './register.js';
import { createReplicas } from './collectives/replicas.js';
import { expectedProduct } from './smoke-test.js';
import type { MatmulPolicy } from './kernels/kernel.js';

export type ResolveOptions = EngineOptions;

/** What a configuration asks for. `engine` chooses within `whetstone`: null or absent for what suits the machine. */
export interface BackendRequest {
  readonly name: string;
  readonly threads: number | null;
  readonly engine?: string | null;
  /** Devices of the engine xla that make a step together; null or absent for one. */
  readonly devices?: number | null;
  /** The processes that train together; only the engine tensorflow can sum over them. */
  readonly cluster?: TensorCluster | null;
  /** How matrices are multiplied; float32 where it is left out. Backends other than `whetstone` know float32 alone. */
  readonly matmul?: MatmulPolicy | null;
}

interface Started {
  readonly backend: string;
  readonly engine: string;
  /** What it is, in a few words for people. */
  readonly title: string;
  readonly barrier?: () => void;
  readonly collective?: TensorCollective;
  readonly replicas?: TensorReplicas;
  readonly sideBySide?: TensorBackendInfo['sideBySide'];
}

interface Candidate {
  readonly name: string;
  /** What in a configuration asks for this one. */
  readonly names: readonly string[];
  /** Starts it and makes it tfjs-core's current backend. Throws, with the reason, where it cannot. */
  start(wanted: BackendRequest, options: ResolveOptions): Promise<Started>;
}

/** From best to worst: what `auto` tries in turn. */
const candidates: readonly Candidate[] = [
  {
    name: 'whetstone on an accelerator',
    names: [],
    start: async (wanted, options) => startEngine(await chooseAccelerator(options, wanted)),
  },
  { name: 'whetstone', names: ['whetstone'], start: startTensorflow },
  {
    name: 'xla',
    names: ['xla', 'whetstone'],
    start: async (wanted, options) => startEngine(await chooseXla(options, wanted)),
  },
  {
    name: '@tensorflow/tfjs-node-gpu',
    names: ['tensorflow'],
    start: () => startTfjsNode('@tensorflow/tfjs-node-gpu'),
  },
  { name: '@tensorflow/tfjs-node', names: ['tensorflow'], start: () => startTfjsNode('@tensorflow/tfjs-node') },
  { name: 'wasm', names: ['wasm'], start: startWasm },
  { name: 'cpu', names: ['cpu'], start: startCpu },
];

/** Names that a configuration may ask for. */
export const backendNames: readonly string[] = ['auto', ...new Set(candidates.flatMap((candidate) => candidate.names))];

/**
 * Chooses a tensor backend and makes it tfjs-core's current one. `auto` takes the best that works; a name takes that
 * one or nothing.
 *
 * @returns what was chosen and why, with why each better one was not
 * @throws `BACKEND_UNAVAILABLE` with every reason, `CONFIG_INVALID` for a name that none has
 */
export async function resolveBackend(wanted: BackendRequest, options: ResolveOptions = {}): Promise<TensorBackendInfo> {
  const cluster = wanted.cluster ?? null;
  if (cluster !== null) checkClusterSupport(wanted);
  if ((wanted.devices ?? 1) > 1) checkDeviceSupport(wanted);
  if (wanted.engine === 'xla') return resolveBackend({ ...wanted, name: 'xla', engine: null }, options);
  const onlyTensorflow =
    cluster !== null || (wanted.engine === 'tensorflow' && ['auto', 'whetstone'].includes(wanted.name));
  const asked = candidates.filter((candidate) =>
    onlyTensorflow ? candidate.name === 'whetstone' : wanted.name === 'auto' || candidate.names.includes(wanted.name),
  );
  if (asked.length === 0) {
    throw new WhetstoneError('CONFIG_INVALID', `There is no tensor backend called ${JSON.stringify(wanted.name)}.`, {
      place: { path: 'backend' },
      expected: backendNames.join(', '),
      found: wanted.name,
    });
  }
  const failures: string[] = [];
  for (const candidate of asked) {
    try {
      const started = await candidate.start(wanted, options);
      const products = applyMatmulPolicy(wanted.matmul ?? 'float32');
      smokeTest();
      return {
        backend: started.backend,
        engine: started.engine,
        reason: `${reason(started.title, wanted.name, failures)}${products}`,
        barrier: started.barrier ?? (() => undefined),
        ...(started.collective === undefined ? {} : { collective: started.collective }),
        ...(started.replicas === undefined ? {} : { replicas: started.replicas }),
        ...(started.sideBySide === undefined ? {} : { sideBySide: started.sideBySide }),
      };
    } catch (error) {
      if (error instanceof NoAcceleratorError) continue;
      const why =
        error instanceof Error ? (error.message.trim().split('\n')[0] ?? '').replace(/\.$/, '') : String(error);
      // One plugin is asked twice: as an accelerator, and for the processor.
      if (candidate.name !== 'xla' || !failures.some((failure) => failure.endsWith(`: ${why}`)))
        failures.push(`${candidate.name}: ${why}`);
    }
  }
  throw new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    wanted.name === 'auto'
      ? 'No tensor backend can be used.'
      : `The tensor backend ${JSON.stringify(wanted.name)} cannot be used.`,
    {
      place: { path: 'backend' },
      hint:
        cluster !== null
          ? 'Every machine needs libtensorflow: `npx whetstone backend install cpu` fetches it.'
          : wanted.name === 'xla'
            ? 'Fetch a plugin for CPUs with `npx whetstone backend install xla-cpu`, or name one in ' +
              'WHETSTONE_XLA_PLUGIN.'
            : wanted.name === 'whetstone'
              ? 'Fetch libtensorflow with `npx whetstone backend install cpu`, or set "backend": "auto".'
              : 'Set "backend": "auto" to take the best that works here.',
      problems: failures.map((message) => ({ message })),
    },
  );
}

/** Several processes sum their gradients through TensorFlow's collective runtime, and through nothing else. */
function checkClusterSupport({ name, engine = null }: BackendRequest): void {
  if (['auto', 'whetstone'].includes(name) && engine !== 'xla') return;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `The backend ${JSON.stringify(engine === 'xla' ? 'whetstone with its engine xla' : name)} does not train ` +
      'in several processes.',
    {
      place: { path: 'backend' },
      expected: 'whetstone with its engine tensorflow',
      found: engine === null ? name : `${name}, engine ${engine}`,
      hint: 'Set "backend": "whetstone", or train in one process.',
    },
  );
}

/** Several devices in one process are XLA's. */
function checkDeviceSupport({ name, engine = null, devices }: BackendRequest): void {
  if (name === 'xla' || engine === 'xla') return;
  throw new WhetstoneError('CONFIG_CONFLICT', `Only the engine xla computes on ${devices} devices in one process.`, {
    place: { path: 'backend.devices' },
    expected: '"backend": {"name": "whetstone", "engine": "xla", "devices": 2}',
    found: engine === null ? name : `${name}, engine ${engine}`,
    hint: 'On processors, several processes are the faster way: whetstone train run.json --processes 2.',
  });
}

/** {@link resolveBackend} as the service that a Trainer asks for; the choice and its reason go to the log. */
export function createBackendResolver(options: ResolveOptions = {}): BackendResolver {
  return {
    async resolve(wanted, logger: Logger) {
      const info = await resolveBackend(wanted, options);
      logger.info(info.reason, { backend: info.backend, engine: info.engine });
      return info;
    },
  };
}

function reason(title: string, wanted: string, failures: readonly string[]): string {
  const why = wanted === 'auto' ? 'the best that works here' : 'as asked for';
  const without = failures.length === 0 ? '' : ` (${failures.join('; ')})`;
  return `Computing on ${title}, ${why}${without}.`;
}

/** Sets how matrices are multiplied, and says what is worth knowing of it. */
function applyMatmulPolicy(policy: MatmulPolicy): string {
  const present = backend();
  if (!(present instanceof WhetstoneBackend))
    return policy === 'float32' ? '' : ` Matrices are multiplied in float32: ${getBackend()} knows no other way.`;
  present.setMatmul(policy);
  if (policy === 'float32') return '';
  const isSlow = present.engine.name === 'tensorflow' && !multipliesBfloat16();
  return (
    ' Matrices are multiplied in bfloat16, added up in ' +
    `float32${isSlow ? '; this processor has no instructions for that, float32 is faster' : ''}.`
  );
}

/** Whether the processor multiplies bfloat16 itself. Where the system does not tell, it is believed to. */
function multipliesBfloat16(): boolean {
  try {
    return /amx_bf16|avx512_bf16|\bbf16\b/.test(readFileSync('/proc/cpuinfo', 'latin1'));
  } catch {
    return true;
  }
}

/** A backend that loads but cannot multiply is of no use: tfjs-node under a newer Node is one. */
function smokeTest(): void {
  const left = tensor2d([1, 2, 3, 4], [2, 2]);
  const product = matMul(left, left);
  const values = product.dataSync();
  left.dispose();
  product.dispose();
  if (expectedProduct.some((value, index) => values[index] !== value))
    throw new Error(`${getBackend()} multiplies wrongly: [${[...values].join(', ')}]`);
}

/** TensorFlow by itself, or as one of several processes: those on the same cores share them out. */
async function startTensorflow({ threads, cluster = null }: BackendRequest, options: ResolveOptions): Promise<Started> {
  if (cluster === null) return startEngine(await chooseTensorflow(threads, options));
  const share =
    cluster.sharingCores < 2 ? null : Math.max(1, Math.floor(availableParallelism() / cluster.sharingCores));
  const choice = await chooseTensorflow(threads ?? share, options);
  const backend = await registerWhetstoneBackend({
    ...choice.options,
    cluster: { addresses: cluster.addresses, rank: cluster.rank },
  } as RegisterOptions);
  return {
    backend: BACKEND_NAME,
    engine: backend.engine.name,
    title: `${choice.title(backend.engine.version)}, one of ${cluster.count} workers`,
    barrier: () => backend.barrier(),
    collective: createCollective(backend, cluster),
  };
}

async function startEngine({ options, title }: EngineChoice): Promise<Started> {
  const backend = await registerWhetstoneBackend(options);
  const replicas = createReplicas(backend);
  return {
    backend: 'whetstone',
    engine: backend.engine.name,
    title: title(backend.engine.version),
    barrier: () => backend.barrier(),
    ...(replicas.count === 1 ? {} : { replicas }),
    ...(backend.engine.gainsSideBySide === true ? { sideBySide: (record) => backend.recordConcurrently(record) } : {}),
  };
}

async function startTfjsNode(name: string): Promise<Started> {
  let file: string;
  try {
    file = createRequire(import.meta.url).resolve(name);
  } catch {
    throw new Error('not installed');
  }
  const { version } = (await import(pathToFileURL(file).href)) as {
    readonly version?: Readonly<Record<string, string>>;
  };
  if (!(await setBackend('tensorflow'))) throw new Error('could not start');
  return { backend: 'tensorflow', engine: 'tensorflow', title: `${name} ${version?.['tfjs-node'] ?? ''}`.trim() };
}

async function startWasm(): Promise<Started> {
  await useWasmBackend();
  return { backend: 'wasm', engine: 'wasm', title: 'WebAssembly, on one thread' };
}

async function startCpu(): Promise<Started> {
  await useCpuBackend();
  return { backend: 'cpu', engine: 'cpu', title: 'plain JavaScript, slowly' };
}
