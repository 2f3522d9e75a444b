import { spawn } from 'node:child_process';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTinyModel } from '../../packages/cli/src/tiny-model.js';

/** The command as it is installed. */
const main = fileURLToPath(new URL('../../packages/cli/bin/whetstone.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
  readonly errors: string;
}

/** A process at work. */
export interface Running {
  readonly ended: Promise<Ended>;
  /** Resolves when it has written this; rejects where it ends before. */
  wrote(text: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
}

/** Starts `whetstone train run.json` in a folder; one of several processes waits for the others for two minutes. */
export function start(
  folder: string,
  parameters: readonly string[] = [],
  environment: Readonly<Record<string, string>> = {},
): Running {
  const { TF_CONFIG: _, ...inherited } = process.env;
  const isOneOfSeveral = parameters.includes('--processes') || 'TF_CONFIG' in environment;
  const timeout = isOneOfSeveral ? ['--set', 'training.ddpTimeout=120'] : [];
  const child = spawn(process.execPath, [main, 'train', 'run.json', ...timeout, ...parameters], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...inherited, NODE_ENV: 'test', ...environment },
  });
  let output = '';
  let errors = '';
  const watchers = new Set<() => void>();
  const note = (): void => {
    for (const watcher of watchers) watcher();
  };
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    note();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output, errors }));
  });
  return {
    ended,
    wrote: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!output.includes(text)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
        void ended.then(() =>
          reject(new Error(`It ended before it wrote ${JSON.stringify(text)}:\n${output}\n${errors}`)),
        );
      }),
    kill: (signal) => void child.kill(signal),
  };
}

/**
 * Starts a process for each worker, as a shell loop, Slurm or Kubernetes would: by TF_CONFIG. `own` are the parameters
 * of one worker alone.
 */
export async function startWorkers(
  folder: string,
  count: number,
  parameters: readonly string[] = [],
  own: Readonly<Record<number, readonly string[]>> = {},
): Promise<Running[]> {
  const worker = await freeAddresses(count);
  return worker.map((_, index) =>
    start(folder, [...parameters, ...(own[index] ?? [])], {
      TF_CONFIG: JSON.stringify({ cluster: { worker }, task: { type: 'worker', index } }),
    }),
  );
}

async function freeAddresses(count: number): Promise<string[]> {
  const servers: Server[] = Array.from({ length: count }, () => createServer());
  for (const server of servers) {
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
  }
  const addresses = servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return addresses;
}

/** A small model, data of many lengths, and a configuration to train it with. */
export async function writeProject(folder: string): Promise<void> {
  await createTinyModel(join(folder, 'tiny'), { hiddenSize: 32, layers: 2 });
  const row = (index: number): string =>
    JSON.stringify({
      messages: [
        { role: 'user', content: `question ${index} ${'x'.repeat(index % 7)}` },
        { role: 'assistant', content: `answer ${(index * 7) % 11} ${'yes '.repeat(index % 5)}` },
      ],
    });
  const rows = (from: number, to: number): string =>
    `${Array.from({ length: to - from }, (_, index) => row(from + index)).join('\n')}\n`;
  await writeFile(join(folder, 'train.jsonl'), rows(0, 24));
  await writeFile(join(folder, 'eval.jsonl'), rows(24, 37));
  await writeFile(join(folder, 'old.jsonl'), rows(40, 52));
  await writeConfig(folder);
}

/** Writes run.json; `more` takes the place of whole sections, but is put into `training`. */
export async function writeConfig(
  folder: string,
  more: { readonly training?: object; readonly [section: string]: unknown } = {},
): Promise<void> {
  const { training, ...sections } = more;
  const config = {
    model: 'tiny',
    backend: 'whetstone',
    data: { train: 'train.jsonl', eval: 'eval.jsonl', maxLength: 96, leakage: 'off' },
    strategy: { use: 'lora', options: { rank: 4 } },
    optimizer: { learningRate: 0.01 },
    training: {
      maxSteps: 8,
      perDeviceTrainBatchSize: 6,
      perDeviceEvalBatchSize: 4,
      evalStrategy: 'steps',
      evalSteps: 4,
      saveStrategy: 'steps',
      saveSteps: 4,
      ...training,
    },
    ...sections,
  };
  await writeFile(join(folder, 'run.json'), JSON.stringify(config, null, 1));
}

export interface MetricsLine {
  readonly type: string;
  readonly step: number;
  readonly loss: number;
  readonly [name: string]: unknown;
}

/** What a run has written down of its steps and evaluations. */
export async function metricsOf(folder: string): Promise<MetricsLine[]> {
  const text = await readFile(join(folder, 'metrics.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsLine)
    .filter(({ type }) => type !== 'end');
}
