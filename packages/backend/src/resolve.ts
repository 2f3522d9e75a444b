import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { backend, getBackend } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type BackendResolver,
  type Logger,
  type TensorBackendInfo,
  type TensorCluster,
  type TensorCollective,
  type TensorReplicas,
} from '@whetstone/core/contract';
import { messageOf } from '@whetstone/core/util';
import { createCollective } from './collectives/collective.js';
import { createReplicas } from './collectives/replicas.js';
import { engines, startFirst, type Engine, type EngineChoice, type EngineOptions } from './engine-choice.js';
import { useCpuBackend } from './fallback/cpu.js';
import { useWasmBackend } from './fallback/wasm.js';
import { describeGpus, presentGpus, type Gpu } from './gpus.js';
import type { MatmulPolicy } from './kernels/kernel.js';
import { WhetstoneBackend } from './recorder/backend.js';
import { BACKEND_NAME, registerWhetstoneBackend, type RegisterOptions } from './register.js';
import { smokeTestCurrentBackend } from './smoke-test.js';
import { findPackage, startTfjsNode, startTfjsNodeOnGpu, type FindPackage } from './tfjs-node.js';

export type ResolveOptions = EngineOptions;

/** The configured backend. */
export interface BackendRequest {
  readonly name: string;
  readonly threads: number | null;
  /** Engine of `whetstone`; null or absent for the best one. */
  readonly engine?: string | null;
  /** Devices of the engine xla that share a step; null or absent for one. */
  readonly devices?: number | null;
  /** The processes that train together. Only the engine tensorflow sums over processes. */
  readonly cluster?: TensorCluster | null;
  /** How matrices are multiplied; float32 by default. Only `whetstone` supports other policies. */
  readonly matmul?: MatmulPolicy | null;
}

interface StartedBackend {
  readonly backend: string;
  readonly engine: string;
  /** Describes the backend in a few words. */
  readonly title: string;
  readonly barrier?: () => void;
  readonly collective?: TensorCollective;
  readonly replicas?: TensorReplicas;
  readonly sideBySide?: TensorBackendInfo['sideBySide'];
  /** The GPUs that compute; absent if a processor does. `unknown`: one of the machine's. */
  readonly gpus?: readonly Gpu[] | 'unknown';
}

/** What the choice depends on besides the request. */
export interface Machine {
  readonly findPackage: FindPackage;
  /** The machine's GPUs; null if they are unknown. */
  presentGpus(): Promise<readonly Gpu[] | null>;
}

const thisMachine: Machine = { findPackage, presentGpus };

/** The chosen backend with the machine's GPUs. */
export interface ResolvedBackend extends TensorBackendInfo {
  /** The GPUs that compute, in words; null if a processor does. */
  readonly gpu: string | null;
  /** The machine's GPUs; null if they are unknown. */
  readonly presentGpus: readonly Gpu[] | null;
}

interface Candidate {
  readonly name: string;
  /** Configured names that select this candidate. */
  readonly names: readonly string[];
  /** Starts the backend and makes it tfjs-core's current one. Throws with the reason if it cannot start. */
  start(request: BackendRequest, options: ResolveOptions, machine: Machine): Promise<StartedBackend>;
}

/** The candidates of the engines. */
const engineNames: Readonly<Record<Engine['name'], Pick<Candidate, 'name' | 'names'>>> = {
  'an accelerator': { name: 'whetstone on an accelerator', names: ['whetstone'] },
  tensorflow: { name: 'whetstone', names: ['whetstone'] },
  xla: { name: 'xla', names: ['xla', 'whetstone'] },
};

const engineCandidate = ({ name, choose, check }: Engine): Candidate => ({
  ...engineNames[name],
  start: async (request, options) => {
    const { cluster = null } = request;
    return cluster === null
      ? startEngine(await choose(options, request), check)
      : startInCluster(await choose(options, { threads: request.threads ?? shareOfCores(cluster) }), cluster);
  },
});

const tfjsNodeOnGpu: Candidate = {
  name: '@tensorflow/tfjs-node-gpu on a GPU',
  names: [],
  start: async (_request, _options, machine) => tfjsNode(await startTfjsNodeOnGpu(machine.findPackage)),
};

/** Candidates from best to worst, in the order in which `auto` tries them: first those on a GPU. */
const candidates: readonly Candidate[] = [
  ...engines.flatMap((engine) =>
    engine.name === 'an accelerator' ? [engineCandidate(engine), tfjsNodeOnGpu] : [engineCandidate(engine)],
  ),
  {
    name: '@tensorflow/tfjs-node-gpu',
    names: ['tensorflow', 'tfjs-node-gpu', '@tensorflow/tfjs-node-gpu'],
    start: async (_request, _options, machine) =>
      tfjsNode(await startTfjsNode('@tensorflow/tfjs-node-gpu', machine.findPackage)),
  },
  {
    name: '@tensorflow/tfjs-node',
    names: ['tensorflow', 'tfjs-node', '@tensorflow/tfjs-node'],
    start: async (_request, _options, machine) =>
      tfjsNode(await startTfjsNode('@tensorflow/tfjs-node', machine.findPackage)),
  },
  { name: 'wasm', names: ['wasm'], start: startWasm },
  { name: 'cpu', names: ['cpu'], start: startCpu },
];

/** Backend names that a configuration may use. */
export const backendNames: readonly string[] = ['auto', ...new Set(candidates.flatMap((candidate) => candidate.names))];

/**
 * Chooses a tensor backend and makes it tfjs-core's current one: for `auto` the best that works, for any other name
 * only that backend.
 *
 * @returns the backend, with the reason for the choice and the reasons against better ones
 * @throws `BACKEND_UNAVAILABLE` with every reason if none works
 * @throws `CONFIG_INVALID` for an unknown name
 * @throws `CONFIG_CONFLICT` if the backend does not support several processes or devices
 */
export async function resolveBackend(
  request: BackendRequest,
  options: ResolveOptions = {},
  machine: Machine = thisMachine,
): Promise<ResolvedBackend> {
  if (hasCluster(request)) checkClusterSupport(request);
  if ((request.devices ?? 1) > 1) checkDeviceSupport(request);
  checkEngine(request);
  if (request.engine === 'xla') return resolveBackend({ ...request, name: 'xla', engine: null }, options, machine);
  const { started, failures } = await startFirst(candidatesFor(request), async (candidate) => {
    const backendInfo = await candidate.start(request, options, machine);
    const matmulNote = applyMatmulPolicy(request.matmul ?? 'float32');
    smokeTestCurrentBackend();
    return { ...backendInfo, matmulNote };
  });
  const reasons = failureReasons(failures);
  if (started === null) throw unavailable(request, reasons);
  const { title, matmulNote, backend: name, engine, barrier, collective, replicas, sideBySide, gpus } = started.value;
  const present = await machine.presentGpus();
  const gpu = gpus === undefined ? null : describeUsedGpus(gpus, present);
  return {
    backend: name,
    engine,
    reason:
      choiceReason(gpu === null ? title : `${title}, on ${gpu}`, request.name, reasons) +
      unusedGpuNote(gpu, present) +
      matmulNote,
    ...(gpus === undefined ? {} : { deviceMemoryBytes: gpus === 'unknown' ? null : (gpus[0]?.memoryBytes ?? null) }),
    barrier: barrier ?? (() => undefined),
    collective,
    replicas,
    sideBySide,
    gpu,
    presentGpus: present,
  };
}

/** Returns {@link resolveBackend} as the service of a Trainer. The choice and its reason are logged. */
export function createBackendResolver(options: ResolveOptions = {}): BackendResolver {
  return {
    async resolve(request, logger: Logger) {
      const info = await resolveBackend(request, options);
      logger.info(info.reason, { backend: info.backend, engine: info.engine });
      return info;
    },
  };
}

const hasCluster = ({ cluster = null }: BackendRequest): boolean => cluster !== null;

/** @throws `CONFIG_INVALID` for an unknown name */
function candidatesFor(request: BackendRequest): readonly Candidate[] {
  const { name, engine } = request;
  const onlyTensorflow = hasCluster(request) || (engine === 'tensorflow' && ['auto', 'whetstone'].includes(name));
  const matching = candidates.filter((candidate) =>
    onlyTensorflow ? candidate.name === 'whetstone' : name === 'auto' || candidate.names.includes(name),
  );
  if (matching.length > 0) return matching;
  throw new WhetstoneError('CONFIG_INVALID', `Tensor backend ${JSON.stringify(name)} not found.`, {
    place: { path: 'backend' },
    expected: backendNames.join(', '),
    found: name,
  });
}

/** Returns one line per failed candidate. */
function failureReasons(
  failures: readonly { readonly candidate: Candidate; readonly error: unknown }[],
): readonly string[] {
  const reasons: string[] = [];
  for (const { candidate, error } of failures) {
    const [firstLine = ''] = messageOf(error).trim().split('\n');
    const reason = firstLine.replace(/\.$/, '');
    // One plugin may fail twice: as an accelerator and as xla.
    if (candidate.name !== 'xla' || !reasons.some((line) => line.endsWith(`: ${reason}`)))
      reasons.push(`${candidate.name}: ${reason}`);
  }
  return reasons;
}

function unavailable(request: BackendRequest, reasons: readonly string[]): WhetstoneError {
  return new WhetstoneError(
    'BACKEND_UNAVAILABLE',
    request.name === 'auto'
      ? 'No tensor backend is available.'
      : `The tensor backend ${JSON.stringify(request.name)} is not available.`,
    {
      place: { path: 'backend' },
      hint: unavailableHint(request),
      problems: reasons.map((message) => ({ message })),
    },
  );
}

function unavailableHint(request: BackendRequest): string {
  if (hasCluster(request)) return 'Every machine needs libtensorflow: `npx @whetstone/backend install cpu` fetches it.';
  switch (request.name) {
    case 'xla':
      return 'Fetch a CPU plugin with `npx @whetstone/backend install xla-cpu`, or name one in WHETSTONE_XLA_PLUGIN.';
    case 'whetstone':
      return 'Fetch libtensorflow with `npx @whetstone/backend install cpu`, or set "backend": "auto".';
    default:
      return 'Set "backend": "auto" to use the best available backend.';
  }
}

/** @throws `CONFIG_CONFLICT` if the engine is not one of the named backend */
function checkEngine({ name, engine = null }: BackendRequest): void {
  if (engine === null || ['auto', 'whetstone', engine].includes(name) || !backendNames.includes(name)) return;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `The backend ${JSON.stringify(name)} does not have the engine ${engine}.`,
    {
      place: { path: 'backend.engine' },
      expected: `no engine, or "backend": {"name": "whetstone", "engine": "${engine}"}`,
      found: `"backend": {"name": "${name}", "engine": "${engine}"}`,
    },
  );
}

/** Only TensorFlow's collective runtime sums gradients over processes. */
function checkClusterSupport({ name, engine = null }: BackendRequest): void {
  if (['auto', 'whetstone'].includes(name) && engine !== 'xla') return;
  const rejected = engine === 'xla' ? 'whetstone with the engine xla' : name;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `The backend ${JSON.stringify(rejected)} does not support training in several processes.`,
    {
      place: { path: 'backend' },
      expected: 'whetstone with the engine tensorflow',
      found: engine === null ? name : `${name}, engine ${engine}`,
      hint: 'Set "backend": "whetstone", or train in one process.',
    },
  );
}

/** Only XLA uses several devices in one process. */
function checkDeviceSupport({ name, engine = null, devices }: BackendRequest): void {
  if (name === 'xla' || engine === 'xla') return;
  throw new WhetstoneError('CONFIG_CONFLICT', `Only the engine xla supports ${devices} devices in one process.`, {
    place: { path: 'backend.devices' },
    expected: '"backend": {"name": "whetstone", "engine": "xla", "devices": 2}',
    found: engine === null ? name : `${name}, engine ${engine}`,
    hint: 'On CPUs, several processes are faster than several devices of one process.',
  });
}

function choiceReason(title: string, name: string, reasons: readonly string[]): string {
  const why = name === 'auto' ? 'the best available backend' : 'as configured';
  const against = reasons.length === 0 ? '' : ` (${reasons.join('; ')})`;
  return `Computing on ${title}, ${why}${against}.`;
}

/** Returns the GPUs that compute in words. The system knows their whole memory, an engine what it may use of it. */
function describeUsedGpus(gpus: readonly Gpu[] | 'unknown', present: readonly Gpu[] | null): string {
  if (gpus === 'unknown') {
    const [first] = present ?? [];
    return first === undefined ? 'a GPU' : `the GPU ${describeGpus([first])}`;
  }
  const known = gpus.map((gpu) => present?.find(({ name }) => name === gpu.name) ?? gpu);
  return `the GPU${known.length === 1 ? '' : 's'} ${describeGpus(known)}`;
}

/** Returns a note about the machine's GPUs if none computes. */
function unusedGpuNote(used: string | null, present: readonly Gpu[] | null): string {
  if (used !== null) return '';
  if (present === null) return ' Whether the machine has a GPU is unknown on this system.';
  return present.length === 0 ? ' No NVIDIA or AMD GPU was found.' : ` Not used: the GPU ${describeGpus(present)}.`;
}

/** Sets how matrices are multiplied, and returns a note for the user. */
function applyMatmulPolicy(policy: MatmulPolicy): string {
  const current = backend();
  if (!(current instanceof WhetstoneBackend))
    return policy === 'float32' ? '' : ` Matrices are multiplied in float32: ${getBackend()} supports only that.`;
  current.setMatmul(policy);
  if (policy === 'float32') return '';
  const isSlow = current.engine.name === 'tensorflow' && !multipliesBfloat16();
  const warning = isSlow ? '. This CPU has no bfloat16 instructions, so float32 is faster' : '';
  return ` Matrices are multiplied in bfloat16 and accumulated in float32${warning}.`;
}

/** Returns whether the CPU has bfloat16 instructions. True if the system does not report them. */
function multipliesBfloat16(): boolean {
  try {
    return /amx_bf16|avx512_bf16|\bbf16\b/.test(readFileSync('/proc/cpuinfo', 'latin1'));
  } catch {
    return true;
  }
}

/** Returns the number of threads of a process of a cluster: processes on the same machine share its cores. */
const shareOfCores = ({ sharingCores }: TensorCluster): number | null =>
  sharingCores < 2 ? null : Math.max(1, Math.floor(availableParallelism() / sharingCores));

/** Starts TensorFlow as one of several processes. */
async function startInCluster(choice: EngineChoice, cluster: TensorCluster): Promise<StartedBackend> {
  const started = await registerWhetstoneBackend({
    ...choice.options,
    cluster: {
      addresses: cluster.addresses,
      rank: cluster.rank,
      ...(cluster.localSecret === undefined
        ? {}
        : { local: { secret: cluster.localSecret, timeoutSeconds: cluster.timeoutSeconds } }),
    },
  } as RegisterOptions);
  await started.engine.collective?.local?.ready;
  return {
    backend: BACKEND_NAME,
    engine: started.engine.name,
    title: `${choice.title(started.engine.version)}, one of ${cluster.count} workers`,
    barrier: () => started.barrier(),
    collective: createCollective(started, cluster),
  };
}

async function startEngine(
  { options, title }: EngineChoice,
  check: (backend: WhetstoneBackend) => void = () => undefined,
): Promise<StartedBackend> {
  const started = await registerWhetstoneBackend(options);
  check(started);
  const { kind, memoryBytes, isAccelerator } = started.engine.device;
  const replicas = createReplicas(started);
  return {
    backend: BACKEND_NAME,
    engine: started.engine.name,
    title: title(started.engine.version),
    barrier: () => started.barrier(),
    replicas: replicas.count === 1 ? undefined : replicas,
    sideBySide:
      started.engine.gainsFromConcurrency === true ? (record) => started.recordConcurrently(record) : undefined,
    gpus: isAccelerator ? Array.from({ length: replicas.count }, () => ({ name: kind, memoryBytes })) : undefined,
  };
}

const tfjsNode = ({ title, onGpu }: Awaited<ReturnType<typeof startTfjsNode>>): StartedBackend => ({
  backend: 'tensorflow',
  engine: 'tensorflow',
  title,
  gpus: onGpu ? 'unknown' : undefined,
});

async function startWasm(): Promise<StartedBackend> {
  await useWasmBackend();
  return { backend: 'wasm', engine: 'wasm', title: 'WebAssembly with one thread' };
}

async function startCpu(): Promise<StartedBackend> {
  await useCpuBackend();
  return { backend: 'cpu', engine: 'cpu', title: 'plain JavaScript (slow)' };
}
