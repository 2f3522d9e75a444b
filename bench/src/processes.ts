import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { freePort } from '@whetstone/core/distributed';
import { median, ratio, report } from './report.js';

export interface ProcessesBenchOptions {
  readonly mode: 'lora' | 'full';
  readonly batch: number;
  readonly length: number;
  readonly steps: number;
  readonly layers: number;
  readonly processes: number;
  readonly bucket: number;
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

/**
 * One process with n threads, then n processes with one, on the same random step; the same losses are part of the
 * proof.
 */
export async function benchProcesses(options: ProcessesBenchOptions): Promise<void> {
  const { mode, batch, length, processes, json = false } = options;
  const [alone] = await measure(1, processes, options);
  const workers = await measure(processes, 1, options);
  const [first] = workers;
  if (alone === undefined || first === undefined) throw new Error('Nothing was measured.');
  const best = (seconds: readonly number[]): number => Math.min(...seconds);
  const processorOf = (lines: readonly WorkerLine[]): number =>
    total(lines.map(({ processorSeconds }) => best(processorSeconds)));
  const worst = Math.max(...alone.losses.map((loss, index) => Math.abs((first.losses[index] ?? NaN) - loss) / loss));
  const of = (name: 'allReduceSeconds' | 'allReduceWaitSeconds'): number =>
    total(workers.map((line) => median(line[name]))) / workers.length;
  const [busy, waited] = [of('allReduceSeconds'), of('allReduceWaitSeconds')];
  const step = median(first.seconds);
  const result = {
    mode,
    batch,
    length,
    processes,
    alone,
    workers,
    speed: best(alone.seconds) / best(first.seconds),
    processorSpeed: processorOf([alone]) / processorOf(workers),
    allReduceSeconds: busy,
    allReduceWaitSeconds: waited,
    allReduceShare: waited / step,
    overlap: 1 - waited / busy,
    worstLossDifference: worst,
  };
  report(
    [
      `${mode}, ${batch} × ${length} tokens a step, ${(first.gradientBytes / 2 ** 20).toFixed(1)} MiB of gradients`,
      `one process with ${processes} threads: ${best(alone.seconds).toFixed(2)} s a step at best, ` +
        `${processorOf([alone]).toFixed(2)} s of processor time, ${(alone.peakMemoryBytes / 1e9).toFixed(1)} GB`,
      `${processes} processes with a thread each: ${best(first.seconds).toFixed(2)} s a step at best, ` +
        `${processorOf(workers).toFixed(2)} s of processor time, ` +
        `${workers.map(({ peakMemoryBytes }) => (peakMemoryBytes / 1e9).toFixed(1)).join(' + ')} GB`,
      `speed of ${processes} processes to one: ${ratio(best(alone.seconds), best(first.seconds))} by the ` +
        `clock, ${ratio(processorOf([alone]), processorOf(workers))} by processor time`,
      `all-reduce: ${busy.toFixed(3)} s from the first gradients sent to the last sum there, of which ` +
        `${waited.toFixed(3)} s after the backward pass: ${(100 * (waited / step)).toFixed(1)} % of the step ` +
        `(${step.toFixed(2)} s), ${(100 * (1 - waited / busy)).toFixed(0)} % of it behind the computation`,
      `first step, compiling: ${alone.firstSeconds.toFixed(2)} s in one process, ` +
        `${Math.max(...workers.map(({ firstSeconds }) => firstSeconds)).toFixed(2)} s in ${processes}`,
      `losses differ by ${worst.toExponential(1)} at most`,
    ],
    result,
    json,
  );
}
