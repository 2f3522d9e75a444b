import { cpus } from 'node:os';
import '@whetstone/core/tfjs-gradients';
import { resolveBackend } from '@whetstone/backend';
import { type Batch, type Json, type TensorBackendInfo } from '@whetstone/core/contract';
import { trainStep } from '@whetstone/core/engine';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { defaultLoraOptions, fullStrategy, loraStrategy } from '@whetstone/strategies';
import { numberOf, runPeer } from './peer.js';
import { median, peakMemoryBytes, ratio, report } from './report.js';
import { operationsOf, shapes, type ShapeName } from './shapes.js';

export interface StepBenchOptions {
  readonly mode: 'lora' | 'full';
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  readonly threads: number;
  readonly backend: string;
  readonly engine?: string;
  readonly precision: 'float32' | 'bfloat16';
  readonly shape: ShapeName;
  /** How frozen matrices are kept: with LoRA those of the base, with full training none. */
  readonly weights: 'float32' | 'bfloat16';
  /** TFLOP/s of which the share that was reached is told; of a card's dense bfloat16 products, say. */
  readonly peak?: number;
  readonly peerPython?: string;
  /** What the peer computes on; the CPU where it is left out. */
  readonly peerDevice?: 'cpu' | 'cuda';
  /** Whether the peer's model is compiled (torch.compile). */
  readonly peerCompile?: boolean;
  readonly json?: boolean;
}

export interface StepTimes {
  /** Of every step, the first included. */
  readonly seconds: readonly number[];
  readonly processorSeconds: readonly number[];
  /** In which the event loop was busy: recording, hashing, handing over. */
  readonly hostSeconds: readonly number[];
}

/** Makes one step more than `steps` on a model of random weights. */
export async function measureStep(
  backend: TensorBackendInfo,
  shape: Readonly<Record<string, Json>>,
  {
    mode,
    batch,
    length,
    steps,
    weights = 'float32',
  }: Pick<StepBenchOptions, 'mode' | 'batch' | 'length' | 'steps'> & Partial<Pick<StepBenchOptions, 'weights'>>,
): Promise<StepTimes> {
  const model = createRandomModel(shape, 0, mode === 'lora' ? weights : 'float32');
  const strategy = mode === 'lora' ? loraStrategy({ ...defaultLoraOptions, rank: 16, alpha: 32 }) : fullStrategy();
  const attachment = await strategy.attach(model, { seed: 0, totalSteps: steps + 1, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const parts = { model, owner: attachment, companions: [], hooks: createHookRunner([]), optimizer, backend };
  const data = randomBatch(batch, length, model.vocabularySize);
  const times = { seconds: [] as number[], processorSeconds: [] as number[], hostSeconds: [] as number[] };
  for (let step = 0; step <= steps; step += 1) {
    const started = performance.now();
    const before = process.cpuUsage();
    const loop = performance.eventLoopUtilization();
    await trainStep(parts, [data], step, 2e-5);
    const { user, system } = process.cpuUsage(before);
    times.seconds.push((performance.now() - started) / 1000);
    times.processorSeconds.push((user + system) / 1e6);
    times.hostSeconds.push(performance.eventLoopUtilization(loop).active / 1000);
  }
  optimizer.dispose();
  attachment.dispose();
  model.dispose();
  return times;
}

/** Times one optimizer step, the first left out; the peer first, so that neither runs beside the other's memory. */
export async function benchStep(options: StepBenchOptions): Promise<void> {
  const {
    mode,
    batch,
    length,
    steps,
    threads,
    backend,
    precision,
    shape,
    weights,
    peak,
    peerPython,
    peerDevice = 'cpu',
    peerCompile = false,
  } = options;
  const flags = [
    '--shape',
    shape,
    '--device',
    peerDevice,
    ...(weights === 'bfloat16' && mode === 'lora' ? ['--dtype', 'bfloat16'] : []),
    ...(peak === undefined ? [] : ['--peak', String(peak)]),
    ...(precision === 'bfloat16' ? ['--autocast'] : []),
    ...(peerCompile ? ['--compile'] : []),
  ];
  const peer =
    peerPython === undefined
      ? undefined
      : await runPeer(peerPython, 'peer_step.py', [
          mode,
          String(batch),
          String(length),
          String(steps),
          '--threads',
          String(threads),
          ...flags,
        ]);
  const info = await resolveBackend({ name: backend, threads, engine: options.engine ?? null, matmul: precision });
  const { seconds, processorSeconds, hostSeconds } = await measureStep(info, shapes[shape], {
    mode,
    batch,
    length,
    steps,
    weights,
  });
  const [firstSeconds = NaN, ...measured] = seconds;
  const secondsPerStepMin = Math.min(...measured);
  const result = {
    mode,
    shape,
    batch,
    length,
    precision,
    weights,
    firstSeconds,
    secondsPerStepMin,
    processorSecondsPerStepMin: Math.min(...processorSeconds.slice(1)),
    hostSecondsPerStepMin: Math.min(...hostSeconds.slice(1)),
    secondsPerStepMedian: median(measured),
    tokensPerSecond: (batch * length) / secondsPerStepMin,
    peakMemoryBytes: peakMemoryBytes(),
    ...(peak === undefined ? {} : { shareOfPeak: operationsOf(shape, options) / secondsPerStepMin / (peak * 1e12) }),
    backend: info.backend,
    engine: info.engine,
    threads,
    processors: cpus().length,
    ...(peer === undefined ? {} : { peer, ratio: numberOf(peer, 'min_s') / secondsPerStepMin }),
  };
  const lines = [
    info.reason,
    `${shape === 'smol' ? '' : `${shape}, `}${mode}, ${batch} × ${length} tokens, ${precision}: ` +
      `${secondsPerStepMin.toFixed(2)} s a step at best, ${result.secondsPerStepMedian.toFixed(2)} s median, the ` +
      `first ${firstSeconds.toFixed(2)} s, ${result.processorSecondsPerStepMin.toFixed(2)} s of processor time, ` +
      `host busy for ${result.hostSecondsPerStepMin.toFixed(2)} s ` +
      `(${((100 * result.hostSecondsPerStepMin) / secondsPerStepMin).toFixed(1)} %), ` +
      `${result.tokensPerSecond.toFixed(0)} tokens/s, ${(result.peakMemoryBytes / 1e9).toFixed(1)} GB`,
  ];
  if (result.shareOfPeak !== undefined) lines.push(`${(100 * result.shareOfPeak).toFixed(1)} % of ${peak} TFLOP/s`);
  if (peer !== undefined) {
    lines.push(
      `${String(peer['peer'])}${peerCompile ? `, compiled in ${numberOf(peer, 'first_s').toFixed(0)} s` : ''}: ` +
        `${numberOf(peer, 'min_s').toFixed(2)} s a step at best, ${numberOf(peer, 'min_cpu_s').toFixed(2)} s of ` +
        `processor time, ${numberOf(peer, 'tokens_per_s').toFixed(0)} tokens/s, ` +
        `${numberOf(peer, 'peak_rss_gb').toFixed(1)} GB`,
    );
    if (typeof peer['share_of_peak'] === 'number')
      lines.push(
        `theirs: ${(100 * peer['share_of_peak']).toFixed(1)} % of ${peak ?? 989} TFLOP/s, ` +
          `${numberOf(peer, 'peak_gpu_gb').toFixed(1)} GB of ${String(peer['device_name'])}`,
      );
    lines.push(
      `speed, ours to theirs: ${ratio(numberOf(peer, 'min_s'), secondsPerStepMin)}; memory: ` +
        `${ratio(result.peakMemoryBytes / 1e9, numberOf(peer, 'peak_rss_gb'))}`,
    );
  }
  report(lines, result, options.json === true);
}

/** Random tokens, each of which is a target where one can be. */
export function randomBatch(rows: number, length: number, vocabulary: number): Batch {
  let state = 1;
  const ids = Int32Array.from({ length: rows * length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  });
  return {
    rows,
    length,
    ids,
    labels: ids.slice(),
    segmentIds: new Int32Array(rows * length).fill(1),
    positionIds: Int32Array.from({ length: rows * length }, (_, index) => index % length),
    samples: rows,
    tokens: rows * length,
    supervisedTokens: rows * (length - 1),
  };
}
