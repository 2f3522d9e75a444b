import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findModelFolder, Trainer, type TrainerConfig } from 'whetstone';
import { numberOf, runOnce, runPeer, toParameters } from './peer.js';
import { median, medianOf, report, spread, summarize, type Summary } from './report.js';

export interface StrategiesBenchOptions {
  readonly model: string;
  readonly train: string;
  readonly eval: string;
  readonly evalSamples: number;
  readonly steps: number;
  readonly batch: number;
  readonly maxLength: number;
  readonly threads: number;
  readonly backend: string;
  readonly only?: string;
  readonly runs: number;
  readonly peerPython?: string;
  readonly json?: boolean;
  /** One strategy, measured in this very process: what the command calls itself with. */
  readonly one?: string;
}

interface Contender {
  readonly strategy: NonNullable<TrainerConfig['strategy']>;
  /** The method of `peers/peer_strategies.py` that does the same; absent where PEFT and TRL have none. */
  readonly peer?: string;
  readonly companions?: NonNullable<TrainerConfig['companions']>;
  readonly learningRate: number;
}

/** What is measured, each with a rate that suits it. `old` is earlier data, for the strategies that hold on to it. */
const contenders = (old: string): Readonly<Record<string, Contender>> => ({
  full: { strategy: 'full', learningRate: 3e-5, peer: 'full' },
  'full, bfloat16 weights': { strategy: { use: 'full', options: { weights: 'bfloat16' } }, learningRate: 3e-5 },
  'frozen-layers': { strategy: { use: 'frozen-layers', options: { trainLastLayers: 4 } }, learningRate: 1e-4 },
  'frozen-layers, prefix kept': {
    strategy: { use: 'frozen-layers', options: { trainLastLayers: 4, cacheFrozenPrefix: true } },
    learningRate: 1e-4,
  },
  lora: { strategy: { use: 'lora', options: { rank: 16, alpha: 32 } }, learningRate: 1e-3, peer: 'lora' },
  'lora, DoRA': {
    strategy: { use: 'lora', options: { rank: 16, alpha: 32, useDora: true } },
    learningRate: 1e-3,
    peer: 'dora',
  },
  qlora: { strategy: { use: 'qlora', options: { rank: 16, alpha: 32 } }, learningRate: 1e-3, peer: 'qlora' },
  'p-tuning-v2': {
    strategy: { use: 'p-tuning-v2', options: { virtualTokens: 20 } },
    learningRate: 1e-2,
    peer: 'prefix',
  },
  'p-tuning-v2, at the input': {
    strategy: { use: 'p-tuning-v2', options: { virtualTokens: 20, depth: 'input' } },
    learningRate: 1e-2,
  },
  'lora + ewc': {
    strategy: { use: 'lora', options: { rank: 16, alpha: 32 } },
    companions: [
      { use: 'ewc', options: { data: old, samples: 16, batchSize: 4, on: 'effective-weights', lambda: 1e5 } },
    ],
    learningRate: 1e-3,
  },
  'lora + replay': {
    strategy: { use: 'lora', options: { rank: 16, alpha: 32 } },
    companions: [{ use: 'replay', options: { data: old, ratio: 0.1 } }],
    learningRate: 1e-3,
  },
});

/** What one run came to. */
interface Measured {
  readonly name: string;
  readonly trainableParameters: number;
  readonly peakMemoryBytes: number;
  readonly tokensPerSecond: number;
  /** Those of the second half of the steps, when everything is compiled. */
  readonly laterTokensPerSecond: number;
  readonly cpuSeconds: number | null;
  readonly evalLossBefore: number | null;
  readonly evalLossAfter: number | null;
  /** Bytes of what the run leaves: an adapter, or the whole model. */
  readonly savedBytes: number;
  readonly saved: string;
}

/**
 * Every strategy on the same model, data, batches and steps; each in a process of its own, so that its peak of memory
 * is its own.
 */
export async function benchStrategies(options: StrategiesBenchOptions): Promise<void> {
  if (options.one !== undefined) return measureOne(options, options.one);
  const names = Object.keys(contenders(''));
  const wanted = options.only?.split(';').map((name) => name.trim()) ?? names;
  const unknown = wanted.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`Not measured here: ${unknown.join('; ')}. There are: ${names.join('; ')}`);
  const rows: StrategyRow[] = [];
  // On a machine at rest the first process of each side reads its libraries from the disk and wakes the processor: that
  // is nobody's row.
  for (const name of wanted.slice(0, 1))
    await measureBoth(name, { ...options, steps: 2, evalSamples: 4 }).catch(() => []);
  const failures: string[] = [];
  for (const name of wanted) {
    try {
      const runs: Measured[][] = [];
      for (let run = 0; run < options.runs; run++) runs.push(await measureBoth(name, options));
      rows.push(...medianRows(runs));
    } catch (error) {
      failures.push(`${name}: ${(error as Error).message}`);
      process.stderr.write(`${failures.at(-1)}\n`);
    }
  }
  const lines = [
    medianOf(options.runs),
    '| strategy | trained parameters | peak memory | tokens/s | of the later half of the steps | eval loss ' +
      'before | after | saved |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |',
    ...rows.map(
      (row) =>
        `| ${row.name} | ${row.trainableParameters.toLocaleString('en')} | ` +
        `${(row.peakMemoryBytes / 1e9).toFixed(2)} GB | ${spread(row.speed, 0)} | ` +
        `${spread(row.laterSpeed, 0)} | ${row.evalLossBefore?.toFixed(4)} | ` +
        `${row.evalLossAfter?.toFixed(4)} | ${row.saved}, ${(row.savedBytes / 1e6).toFixed(1)} MB |`,
    ),
    ...failures,
    ...(options.peerPython === undefined
      ? ['Beside TRL and PEFT, where they have the same: --peer-python <python>.']
      : []),
  ];
  const { steps, batch, runs } = options;
  report(lines, { steps, batch, runs, rows, failures }, options.json === true);
  if (failures.length > 0) process.exitCode = 1;
}

/** A strategy over all of its runs: medians, losses of the first run. */
interface StrategyRow extends Measured {
  readonly speed: Summary;
  readonly laterSpeed: Summary;
}

/** @param runs for each run the rows of both sides, in the same order */
function medianRows(runs: readonly (readonly Measured[])[]): StrategyRow[] {
  return (runs[0] ?? []).map((first, side) => {
    const of = (number: (one: Measured) => number): number[] =>
      runs.flatMap((rows) => (rows[side] === undefined ? [] : [number(rows[side])]));
    const speed = summarize(of((one) => one.tokensPerSecond));
    const laterSpeed = summarize(of((one) => one.laterTokensPerSecond));
    return {
      ...first,
      peakMemoryBytes: median(of((one) => one.peakMemoryBytes)),
      tokensPerSecond: speed.median,
      laterTokensPerSecond: laterSpeed.median,
      speed,
      laterSpeed,
    };
  });
}

/** A strategy, and the peer's where there are both. */
async function measureBoth(name: string, options: StrategiesBenchOptions): Promise<Measured[]> {
  const ours = await inProcess(name, options);
  process.stderr.write(`${name}: done\n`);
  const peer = contenders('')[name]?.peer;
  return options.peerPython === undefined || peer === undefined
    ? [ours]
    : [ours, await measurePeer(options.peerPython, name, peer, options)];
}

/** The same by TRL and PEFT, on the same model, data and steps. */
async function measurePeer(
  python: string,
  name: string,
  method: string,
  options: StrategiesBenchOptions,
): Promise<Measured> {
  const { train, evalSamples, steps, batch, maxLength, threads } = options;
  const scratch = await mkdtemp(join(tmpdir(), 'whetstone-bench-'));
  try {
    const evalFile = await firstLines(options.eval, evalSamples, scratch);
    const trainFile = await batchesOf(train, steps, batch, scratch);
    const lr = contenders('')[name]?.learningRate ?? 0;
    const given = {
      method,
      model: await findModelFolder(options.model),
      train: trainFile,
      eval: evalFile,
      steps,
      batch,
      'max-length': maxLength,
      threads,
      lr,
    };
    const line = await runPeer(python, 'peer_strategies.py', toParameters(given));
    process.stderr.write(`${name} by ${String(line['peer'])}: done\n`);
    return {
      name: `– ${String(line['peer'])}`,
      trainableParameters: numberOf(line, 'trainable_parameters'),
      peakMemoryBytes: numberOf(line, 'peak_rss_bytes'),
      tokensPerSecond: numberOf(line, 'tokens_per_second'),
      laterTokensPerSecond: numberOf(line, 'later_tokens_per_second'),
      cpuSeconds: null,
      evalLossBefore: numberOf(line, 'eval_loss_before'),
      evalLossAfter: numberOf(line, 'eval_loss_after'),
      savedBytes: numberOf(line, 'saved_bytes'),
      saved: method === 'full' ? 'model' : 'adapter',
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** A file with the first lines of another. */
async function firstLines(file: string, count: number, folder: string): Promise<string> {
  const written = join(folder, 'eval.jsonl');
  await writeFile(written, (await readFile(file, 'utf8')).trim().split('\n').slice(0, count).join('\n'));
  return written;
}

/**
 * A file with the conversations of all steps, which both sides read from the first to the last: spread over the data,
 * and by length, so that a batch has one and the longest come first.
 */
async function batchesOf(file: string, steps: number, batch: number, folder: string): Promise<string> {
  const written = join(folder, 'train.jsonl');
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  const stride = Math.max(1, Math.floor(lines.length / (steps * batch)));
  const chosen = lines.filter((_, index) => index % stride === 0).slice(0, steps * batch);
  await writeFile(written, chosen.toSorted((a, b) => b.length - a.length).join('\n'));
  return written;
}

async function inProcess(name: string, options: StrategiesBenchOptions): Promise<Measured> {
  const { model, train, evalSamples, steps, batch, maxLength, threads, backend } = options;
  const measured: unknown = await runOnce('strategies', {
    model,
    train,
    eval: options.eval,
    'eval-samples': evalSamples,
    steps,
    batch,
    'max-length': maxLength,
    threads,
    backend,
    one: name,
  });
  return measured as Measured;
}

async function measureOne(options: StrategiesBenchOptions, name: string): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'whetstone-bench-'));
  try {
    const evalFile = await firstLines(options.eval, options.evalSamples, scratch);
    const trainFile = await batchesOf(options.train, options.steps, options.batch, scratch);
    const contender = contenders(options.eval)[name];
    if (contender === undefined) throw new Error(`${name} is not measured here.`);
    const { strategy, companions = [], learningRate } = contender;
    const trainer = new Trainer(
      {
        model: await findModelFolder(options.model),
        // The peers' ChatML template, which adds no system message.
        chatTemplatePath: fileURLToPath(new URL('../peers/chatml.jinja', import.meta.url)),
        backend: { name: options.backend, threads: options.threads },
        data: {
          train: trainFile,
          eval: evalFile,
          maxLength: options.maxLength,
          shuffleDataset: false,
          trainSamplingStrategy: 'sequential',
          leakage: 'off',
        },
        strategy,
        companions: [...companions],
        loggers: [],
        optimizer: { learningRate, weightDecay: 0 },
        schedule: { use: 'cosine', warmupSteps: 2 },
        training: {
          maxSteps: options.steps,
          perDeviceTrainBatchSize: options.batch,
          perDeviceEvalBatchSize: 16,
          evalStrategy: 'ends',
          saveStrategy: 'no',
          seed: 0,
        },
        output: { folder: join(scratch, 'run') },
      },
      { baseFolder: process.cwd() },
    );
    let trainableParameters = 0;
    trainer.on('run:start', (info) => void (trainableParameters = info.trainableParameters));
    const later = { tokens: 0, seconds: 0 };
    trainer.on('step', ({ step, loss, seconds, tokens }) => {
      process.stderr.write(
        `${name}, step ${step}/${options.steps}  loss ${loss.toFixed(4)}  ${seconds.toFixed(2)} s\n`,
      );
      if (step <= options.steps / 2) return;
      later.tokens += tokens;
      later.seconds += seconds;
    });
    const { peakMemoryBytes, tokensPerSecond, evalLossBefore, evalLossAfter } = await trainer.run();
    const { user, system } = process.cpuUsage();
    const saved = (await readdir(join(scratch, 'run'))).includes('adapter') ? 'adapter' : 'model';
    const measured: Measured = {
      name,
      trainableParameters,
      peakMemoryBytes,
      tokensPerSecond,
      laterTokensPerSecond: later.tokens / later.seconds,
      cpuSeconds: (user + system) / 1e6,
      evalLossBefore,
      evalLossAfter,
      saved,
      savedBytes: await bytesIn(join(scratch, 'run', saved)),
    };
    process.stdout.write(`${JSON.stringify(measured)}\n`);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function bytesIn(folder: string): Promise<number> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.safetensors'));
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
