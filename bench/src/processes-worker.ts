/** One process of `bench processes`: takes part in the steps and prints what it measured. */
import '@whetstone/core/tfjs-gradients';
import { resolveBackend } from '@whetstone/backend';
import {
  clusterOfEnvironment,
  createStepSync,
  createWorkers,
  joinCluster,
  singleWorker,
  workerName,
} from '@whetstone/core/distributed';
import { trainStep } from '@whetstone/core/training';
import { createHookRunner } from '@whetstone/core/hooks';
import { createAdamW } from '@whetstone/core/optimizers';
import { createRandomModel } from '@whetstone/models';
import { fullStrategy, loraStrategy } from '@whetstone/strategies/internal';
import type { ProcessesBenchOptions, WorkerLine } from './processes.js';
import { peakMemoryBytes } from './report.js';
import { shapes } from './shapes.js';
import { randomBatch } from './step.js';

const options = JSON.parse(process.argv[2] ?? '{}') as ProcessesBenchOptions & { readonly threads: number };
const { mode, batch, length, steps, layers, threads, bucket } = options;
const membership = clusterOfEnvironment();
const joined =
  membership === null
    ? null
    : await joinCluster(membership, { timeoutSeconds: 600, settings: {}, signal: new AbortController().signal });
const info = await resolveBackend({
  name: 'whetstone',
  threads,
  engine: 'tensorflow',
  cluster: joined?.cluster ?? null,
});
const workers =
  membership === null || joined === null || info.collective === undefined
    ? singleWorker
    : createWorkers(joined, workerName(membership, membership.rank), info.collective, bucket * 2 ** 20);
const model = createRandomModel({ ...shapes.smol, num_hidden_layers: layers }, 0);
const strategy = mode === 'lora' ? loraStrategy({ rank: 16, alpha: 32 }) : fullStrategy();
const attachment = await strategy.attach(model, { seed: 0, totalSteps: steps + 1, modelFolder: null });
const optimizer = createAdamW({ weightDecay: 0.01, adamBeta1: 0.9, adamBeta2: 0.999, adamEpsilon: 1e-8 });
const parts = {
  model,
  owner: attachment,
  companions: [],
  hooks: createHookRunner([]),
  optimizer,
  backend: info,
  sync: createStepSync(workers),
};
const data = randomBatch(batch, length, model.vocabularySize);
const lists = {
  seconds: [] as number[],
  processorSeconds: [] as number[],
  allReduceSeconds: [] as number[],
  allReduceWaitSeconds: [] as number[],
  losses: [] as number[],
};
let firstSeconds = NaN;
for (let step = 0; step <= steps; step++) {
  await workers.gather(`measured step ${step}`, null);
  const started = performance.now();
  const before = process.cpuUsage();
  const { loss, metrics } = await trainStep(parts, [data], step, 2e-5);
  await workers.gather(`the end of step ${step}`, null);
  const { user, system } = process.cpuUsage(before);
  lists.losses.push(loss);
  // The first step also compiles.
  if (step === 0) {
    firstSeconds = (performance.now() - started) / 1000;
    continue;
  }
  lists.seconds.push((performance.now() - started) / 1000);
  lists.processorSeconds.push((user + system) / 1e6);
  lists.allReduceSeconds.push(metrics['allReduceSeconds'] ?? 0);
  lists.allReduceWaitSeconds.push(metrics['allReduceWaitSeconds'] ?? 0);
}
const gradientBytes = [...attachment.trainable.values()].reduce((sum, { size }) => sum + 4 * size, 0);
process.stdout.write(
  JSON.stringify({
    rank: workers.rank,
    firstSeconds,
    ...lists,
    gradientBytes,
    peakMemoryBytes: peakMemoryBytes(),
  } satisfies WorkerLine),
);
joined?.leave();
