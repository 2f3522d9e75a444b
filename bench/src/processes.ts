import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePort } from '@whetstone/core/distributed';
import { median, medianOf, ratio, report, spread, summarize, type Summary } from './report.js';
import { measureInTurns } from './runs.js';

export interface ProcessesBenchOptions {
  readonly mode: 'lora' | 'full';
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  readonly layers: number;
  readonly processes: number;
  readonly bucket: number;
  readonly runs: number;
  readonly json?: boolean;
}

/** What one process measured, step by step. */
export interface WorkerLine {
  readonly rank: number;
  /** Of the first step, in which everything is compiled. */
  readonly firstSeconds: number;
  readonly seconds: readonly number[];
  readonly processorSeconds: readonly number[];
  /** From the first gradients that were sent to the last sum that came, and what of it was after the backward pass. */
  readonly allReduceSeconds: readonly number[];
  readonly allReduceWaitSeconds: readonly number[];
  readonly losses: readonly number[];
  readonly gradientBytes: number;
  readonly peakMemoryBytes: number;
}

/** Runs `count` worker processes to their end. */
async function measure(count: number, threads: number, options: ProcessesBenchOptions): Promise<readonly WorkerLine[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort('127.0.0.1'));
  const worker = [...ports].map((port) => `127.0.0.1:${port}`);
  const file = fileURLToPath(new URL('./processes-worker.js', import.meta.url));
  return Promise.all(
    worker.map(async (_, index) => {
      const child = spawn(process.execPath, [file, JSON.stringify({ ...options, threads })], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, TF_CONFIG: JSON.stringify({ cluster: { worker }, task: { type: 'worker', index } }) },
      });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
      const code = await new Promise((resolve) => {
        child.on('close', resolve);
      });
      if (code !== 0) throw new Error(`Worker ${index} ended with exit code ${String(code)}.`);
      return JSON.parse(output) as WorkerLine;
    }),
  );
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** The workers of one process alone, and of several processes, in one run. */
interface ProcessesRun {
  readonly alone: WorkerLine;
  readonly workers: readonly WorkerLine[];
}

/**
 * One process with n threads, then n processes with one, on the same random step; the same losses are part of the
 * proof.
 */
export async function benchProcesses(options: ProcessesBenchOptions): Promise<void> {
  const { mode, batch, length, processes, runs, json = false } = options;
  const lines = await measureInTurns(
    [
      { name: `one process, ${processes} threads`, measure: () => measure(1, processes, options) },
      { name: `${processes} processes, one thread each`, measure: () => measure(processes, 1, options) },
    ],
    runs,
  );
  const measured = (lines[0] ?? []).flatMap(([alone], run): ProcessesRun[] => {
    const workers = lines[1]?.[run] ?? [];
    return alone === undefined || workers.length === 0 ? [] : [{ alone, workers }];
  });
  const [first] = measured;
  if (first === undefined) throw new Error('Nothing was measured.');
  const over = (figure: (run: ProcessesRun) => number): Summary => summarize(measured.map(figure));
  const processorOf = (workers: readonly WorkerLine[]): number =>
    total(workers.map(({ processorSeconds }) => median(processorSeconds)));
  const meanOf = (workers: readonly WorkerLine[], name: 'allReduceSeconds' | 'allReduceWaitSeconds'): number =>
    total(workers.map((line) => median(line[name]))) / workers.length;
  const result = {
    aloneSeconds: over(({ alone }) => median(alone.seconds)),
    aloneProcessorSeconds: over(({ alone }) => processorOf([alone])),
    aloneFirstSeconds: over(({ alone }) => alone.firstSeconds),
    seconds: over(({ workers }) => median(workers[0]?.seconds ?? [])),
    processorSeconds: over(({ workers }) => processorOf(workers)),
    firstSeconds: over(({ workers }) => Math.max(...workers.map(({ firstSeconds }) => firstSeconds))),
    allReduceSeconds: over(({ workers }) => meanOf(workers, 'allReduceSeconds')),
    allReduceWaitSeconds: over(({ workers }) => meanOf(workers, 'allReduceWaitSeconds')),
    worstLossDifference: Math.max(
      ...measured.flatMap(({ alone, workers }) =>
        alone.losses.map((loss, index) => Math.abs((workers[0]?.losses[index] ?? NaN) - loss) / loss),
      ),
    ),
  };
  const share = (100 * result.allReduceWaitSeconds.median) / result.seconds.median;
  const hidden = 100 * (1 - result.allReduceWaitSeconds.median / result.allReduceSeconds.median);
  report(
    [
      `${mode}, ${batch} × ${length} tokens a step, ${(first.alone.gradientBytes / 2 ** 20).toFixed(1)} MiB of ` +
        `gradients; ${medianOf(runs)}`,
      `one process with ${processes} threads: ${spread(result.aloneSeconds)} s a step, ` +
        `${spread(result.aloneProcessorSeconds)} s of processor time, ` +
        `${(first.alone.peakMemoryBytes / 1e9).toFixed(1)} GB`,
      `${processes} processes with a thread each: ${spread(result.seconds)} s a step, ` +
        `${spread(result.processorSeconds)} s of processor time, ` +
        `${first.workers.map(({ peakMemoryBytes }) => (peakMemoryBytes / 1e9).toFixed(1)).join(' + ')} GB`,
      `speed of ${processes} processes compared with one: ` +
        `${ratio(result.aloneSeconds.median, result.seconds.median)} by the clock, ` +
        `${ratio(result.aloneProcessorSeconds.median, result.processorSeconds.median)} by processor time`,
      `all-reduce: ${spread(result.allReduceSeconds, 3)} s from the first gradients sent to the last sum received, ` +
        `of which ${spread(result.allReduceWaitSeconds, 3)} s after the backward pass: ` +
        `${share.toFixed(1)} % of the step; ${hidden.toFixed(0)} % of it is hidden behind the computation`,
      `first step, compiling: ${spread(result.aloneFirstSeconds)} s in one process, ${spread(result.firstSeconds)} s ` +
        `in ${processes}`,
      `losses differ by ${result.worstLossDifference.toExponential(1)} at most`,
    ],
    { mode, batch, length, processes, runs, ...result, measured },
    json,
  );
}
