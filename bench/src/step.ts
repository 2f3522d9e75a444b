import { cpus } from 'node:os';
import '@whetstone/core/tfjs-gradients';
import { resolveBackend } from '@whetstone/backend';
import { type Batch, type Json, type TensorBackendInfo } from '@whetstone/core/contract';
import { singleProcess } from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { testRandom } from '@whetstone/core/util';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { fullStrategy, loraStrategy } from '@whetstone/strategies/internal';
import { numberOf, runOnce, runPeer, toParameters, type PeerLine } from './peer.js';
import {
  markdownTable,
  median,
  medianOf,
  peakMemoryBytes,
  ratio,
  report,
  spread,
  summarize,
  type Summary,
} from './report.js';
import { measureInTurns, type Contender } from './runs.js';
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
  /** TFLOP/s of the device, such as a card's dense bfloat16 products; the share that was reached is reported. */
  readonly peak?: number;
  readonly runs: number;
  readonly peerPython?: string;
  /** The peer's device; by default the CPU. */
  readonly peerDevice?: 'cpu' | 'cuda';
  /** Whether the peer is also measured with `torch.compile`. */
  readonly peerCompile?: boolean;
  readonly json?: boolean;
  /** Measures one run in this process and prints it as JSON. */
  readonly one?: boolean;
}

export interface StepTimes {
  /** Of every step, the first included. */
  readonly seconds: readonly number[];
  readonly processorSeconds: readonly number[];
  /** Seconds in which the event loop was busy: recording, hashing, submitting. */
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
  const strategy = mode === 'lora' ? loraStrategy({ rank: 16, alpha: 32 }) : fullStrategy();
  const attachment = await strategy.attach(model, { seed: 0, totalSteps: steps + 1, modelFolder: null });
  const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
  const parts = {
    model,
    owner: attachment,
    companions: [],
    sync: singleProcess,
    hooks: createHookRunner([]),
    optimizer,
    backend,
  };
  const data = randomBatch(batch, length, model.vocabularySize);
  const times = { seconds: [] as number[], processorSeconds: [] as number[], hostSeconds: [] as number[] };
  for (let step = 0; step <= steps; step++) {
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

/**
 * `bench step`: seconds of one optimizer step, the first step of a process left out. Every run is a process of its own;
 * its figure is the median of its steps, and the reported figure is the median of the runs.
 */
export async function benchStep(options: StepBenchOptions): Promise<void> {
  if (options.one === true) {
    process.stdout.write(`${JSON.stringify(await measureRun(options))}\n`);
    return;
  }
  const { mode, batch, length, steps, threads, backend, engine, precision, shape, weights, peak, runs } = options;
  const { peerPython, peerDevice = 'cpu', peerCompile = false } = options;
  const ours = { mode, precision, shape, weights, peak, batch, length, steps, threads, backend, engine, one: true };
  const peer = (python: string, compile: boolean): Contender<PeerLine> => ({
    name: `torch + peft${compile ? ', torch.compile' : ''}`,
    measure: () =>
      runPeer(python, 'peer_step.py', [
        mode,
        String(batch),
        String(length),
        String(steps),
        ...toParameters({
          threads,
          shape,
          device: peerDevice,
          dtype: weights === 'bfloat16' && mode === 'lora' ? 'bfloat16' : undefined,
          peak,
          autocast: precision === 'bfloat16',
          compile,
        }),
      ]),
  });
  const contenders: Contender<PeerLine>[] = [
    { name: 'whetstone', measure: () => runOnce('step', ours) },
    ...(peerPython === undefined ? [] : [peer(peerPython, false)]),
    ...(peerPython === undefined || !peerCompile ? [] : [peer(peerPython, true)]),
  ];
  const results = await measureInTurns(contenders, runs);
  const rows = results.map((lines, index) => summarizeRuns(contenders[index]?.name ?? '', lines));
  const [own] = rows;
  if (own === undefined) throw new Error('Nothing was measured.');
  const perSecond = ({ seconds }: StepRow): string => ((batch * length) / seconds.median).toFixed(0);
  report(
    [
      String(results[0]?.[0]?.['reason']),
      `${shape === 'smol' ? '' : `${shape}, `}${mode}, ${batch} × ${length} tokens, ${precision}; ` +
        `${medianOf(runs)}, ${steps} steps each`,
      ...markdownTable(
        ['', 's a step', 's of the first step', 'tokens/s', 'peak memory, GB', 'speed of whetstone', 'memory'],
        rows.map((row) => [
          row.name,
          spread(row.seconds),
          spread(row.firstSeconds, 1),
          perSecond(row),
          spread(row.peakMemoryGb, 1),
          row === own ? '' : ratio(row.seconds.median, own.seconds.median),
          row === own ? '' : ratio(own.peakMemoryGb.median, row.peakMemoryGb.median),
        ]),
      ),
      `whetstone: ${spread(own.processorSeconds)} s of processor time a step, host busy for ` +
        `${spread(summarize((results[0] ?? []).map((line) => numberOf(line, 'host_s'))))} s`,
      ...rows.flatMap(({ name, shareOfPeak }) =>
        shareOfPeak === null ? [] : [`${name}: ${(100 * shareOfPeak.median).toFixed(1)} % of ${peak} TFLOP/s`],
      ),
    ],
    { mode, shape, batch, length, precision, weights, steps, runs, threads, processors: cpus().length, rows, results },
    options.json === true,
  );
}

interface StepRow {
  readonly name: string;
  readonly seconds: Summary;
  readonly firstSeconds: Summary;
  readonly processorSeconds: Summary;
  readonly peakMemoryGb: Summary;
  readonly shareOfPeak: Summary | null;
}

function summarizeRuns(name: string, lines: readonly PeerLine[]): StepRow {
  const of = (field: string): Summary => summarize(lines.map((line) => numberOf(line, field)));
  return {
    name,
    seconds: of('median_s'),
    firstSeconds: of('first_s'),
    processorSeconds: of('median_cpu_s'),
    peakMemoryGb: of('peak_rss_gb'),
    shareOfPeak: lines.every((line) => typeof line['share_of_peak'] === 'number') ? of('share_of_peak') : null,
  };
}

/** One run in this process, in the names of `peers/peer_step.py`. */
async function measureRun(options: StepBenchOptions): Promise<PeerLine> {
  const { threads, backend, precision, shape, peak } = options;
  const info = await resolveBackend({ name: backend, threads, engine: options.engine ?? null, matmul: precision });
  const { seconds, processorSeconds, hostSeconds } = await measureStep(info, shapes[shape], options);
  const [firstSeconds = NaN, ...measured] = seconds;
  return {
    peer: 'whetstone',
    reason: info.reason,
    backend: info.backend,
    engine: info.engine,
    first_s: firstSeconds,
    min_s: Math.min(...measured),
    median_s: median(measured),
    median_cpu_s: median(processorSeconds.slice(1)),
    host_s: median(hostSeconds.slice(1)),
    peak_rss_gb: peakMemoryBytes() / 1e9,
    share_of_peak: peak && operationsOf(shape, options) / median(measured) / (peak * 1e12),
  };
}

/** Random tokens, each of which is a target where one can be. */
export function randomBatch(rows: number, length: number, vocabulary: number): Batch {
  const random = testRandom(1);
  const ids = Int32Array.from({ length: rows * length }, () => Math.floor(random() * vocabulary));
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
