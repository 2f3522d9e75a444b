import { cpus, totalmem } from 'node:os';
import { backend as currentBackend } from '@tensorflow/tfjs-core';
import { formatBytes } from '@whetstone/core/util';
import { presentAccelerators } from '../engine-choice.js';
import { describeGpus } from '../gpus.js';
import { cacheFolder, findTensorflow, findXlaPlugin } from '../install/index.js';
import { measureMatmul } from '../matmul-speed.js';
import { WhetstoneBackend } from '../recorder/backend.js';
import { resolveBackend, type ResolvedBackend } from '../resolve.js';
import type { Output } from './output.js';

/** Shows the chosen backend, the reason, and its speed at a matrix product. */
export async function backendInfo(name: string, output: Output): Promise<void> {
  const tensorflow = await findTensorflow();
  const xla = await findXlaPlugin();
  const info = await resolveBackend({ name, threads: null });
  const current = currentBackend();
  const engine =
    current instanceof WhetstoneBackend
      ? { name: current.engine.name, version: current.engine.version, device: current.engine.device }
      : {
          name: info.engine,
          version: null,
          device: { kind: cpus()[0]?.model.trim() ?? process.arch, count: 1, memoryBytes: totalmem() },
        };
  const matmul = await measureMatmul();
  const { kind, count, memoryBytes } = engine.device;
  output.line(info.reason);
  output.line(`engine:        ${engine.name}${engine.version === null ? '' : ` ${engine.version}`}`);
  output.line(
    `device:        ${count === 1 ? '' : `${count} × `}${kind}, ${cpus().length} ` +
      `processors${memoryBytes === null ? '' : `, ${formatBytes(memoryBytes)} of memory`}`,
  );
  output.line(`GPU:           ${gpuLine(info)}`);
  output.line(`weights:       ${weightsLine(info.backend)}`);
  output.line(`matmul:        ${matmul.gigaflops.toPrecision(3)} GFLOP/s at ${matmul.side} × ${matmul.side}`);
  output.line(`cache:         ${cacheFolder()}`);
  output.line(
    `libtensorflow: ${'reasons' in tensorflow ? missingLine(tensorflow) : libraryLine(tensorflow, tensorflow.folder)}`,
  );
  output.line(`XLA plugin:    ${'reasons' in xla ? missingLine(xla) : libraryLine(xla, xla.path)}`);
  output.result({
    backend: info.backend,
    engine: info.engine,
    engineVersion: engine.version,
    reason: info.reason,
    device: engine.device,
    processors: cpus().length,
    gpu: info.gpu,
    gpus: info.presentGpus,
    accelerators: presentAccelerators(),
    matmul,
    cache: cacheFolder(),
    tensorflow,
    xla,
  });
}

const missingLine = ({ reasons }: { readonly reasons: readonly string[] }): string => `none: ${reasons.join('; ')}`;

const libraryLine = (
  { version, source }: { readonly version: string | null; readonly source: string },
  path: string,
): string => `${version ?? 'unknown version'} from the ${source}, ${path}`;

/** The storage formats of weights that a backend supports. */
function weightsLine(backend: string): string {
  if (backend === 'whetstone')
    return 'stored as float32, bfloat16, int8, NF4 or FP4, as the model and the strategy require';
  return ['cpu', 'wasm'].includes(backend)
    ? 'stored as int8, NF4 or FP4 by qlora, otherwise as float32, even if bfloat16 is configured'
    : 'always stored as float32';
}

/** The GPU that computes, or those that the operating system reports. */
function gpuLine({ gpu, presentGpus }: ResolvedBackend): string {
  if (gpu !== null) return gpu.replace(/^the GPUs? /, '');
  if (presentGpus === null) return 'detection is not supported on this system';
  if (presentGpus.length === 0) return 'none found (no /dev/nvidia0, no /dev/kfd)';
  const hints = (presentAccelerators() ?? []).map(({ hint }) => hint).join(', ');
  return `${describeGpus(presentGpus)}, not used; install its plugin with: ${hints}`;
}
