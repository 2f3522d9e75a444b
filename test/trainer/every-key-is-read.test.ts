import '@tensorflow/tfjs-backend-cpu';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {
  BACKEND_RESOLVER,
  BATCH_SOURCE_FACTORY,
  corePlugins,
  LOGGER,
  MODEL_LOADER,
  provide,
  REPLY_GENERATOR,
} from '@whetstone/core';
import { definePlugin, PLUGIN_API_VERSION, type TensorCollective } from '@whetstone/core/contract';
import { composeSchema, rawConfigOf, resolveConfig, type ResolvedConfig } from '@whetstone/core/config';
import { runTraining } from '@whetstone/core/training';
import { createRegistry, loadPlugin } from '@whetstone/core/plugins';
import { beforeAll, expect, it } from 'vitest';
import { CLUSTER } from '../../packages/core/src/distributed/index.js';
import { createEventHub } from '../../packages/core/src/events.js';
import { composeRun, runServices } from '../../packages/core/src/trainer/compose/index.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import { loadedOf, shuffledSource, tinyModel } from '../support/training.js';
import { builtIns, recordingLogger, tinyConfig } from './support.js';

beforeAll(() => tf.setBackend('cpu'));

/** Returns the paths of all keys that do not belong to a plugin, such as `training.maxSteps`. */
function frameKeys(): readonly string[] {
  const properties = (schema: unknown) =>
    Object.entries((schema as { readonly properties?: Readonly<Record<string, unknown>> }).properties ?? {});
  return properties(composeSchema([])).flatMap(([section, schema]) => {
    const own = properties(schema).map(([key]) => `${section}.${key}`);
    return own.length > 0 ? own : [section];
  });
}

/** Returns a view of a configuration that records the reads of keys in its first two levels. */
function watch(config: ResolvedConfig, reads: Set<string>): ResolvedConfig {
  const view = (value: object, prefix: string): object =>
    new Proxy(
      { ...value },
      {
        get: (target, key) => {
          // Serializing the configuration does not use its keys.
          if (key === 'toJSON') return () => value;
          const name = `${prefix}${String(key)}`;
          reads.add(name);
          const member: unknown = Reflect.get(target, key);
          return prefix === '' && typeof member === 'object' && member !== null && !Array.isArray(member)
            ? view(member, `${name}.`)
            : member;
        },
      },
    );
  return view(config, '') as ResolvedConfig;
}

/** The sums over a single process. */
const sumsOfOneProcess: TensorCollective = {
  sum: (tensors) => ({
    sums: tensors.map((tensor) => tensor.clone()),
    seconds: tf.scalar(0),
    waitSeconds: tf.scalar(0),
  }),
  abort: () => undefined,
};

/** A metric that needs replies. */
const replyCount = definePlugin({
  apiVersion: PLUGIN_API_VERSION,
  kind: 'metric',
  name: 'reply-count',
  configSchema: { type: 'object', additionalProperties: false },
  create: () => ({
    needs: 'replies',
    createAccumulator: () => {
      let replies = 0;
      return { add: () => void replies++, result: () => ({ replies }) };
    },
  }),
});

/** Trains as the only process of a cluster, and returns the keys that were read. */
async function readsOf(more: object, folder: string): Promise<ReadonlySet<string>> {
  const reads = new Set<string>();
  const registry = createRegistry([...corePlugins, ...builtIns, replyCount]);
  const raw = rawConfigOf({ ...tinyConfig, ...more, output: { folder: join(folder, 'run') } }, folder);
  const resolution = await resolveConfig(raw, {
    defaults: { dataSource: 'conversations' },
    load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder: folder }),
  });
  const context = {
    resolution: { ...resolution, config: watch(resolution.config, reads) },
    events: createEventHub(recordingLogger),
    signal: new AbortController().signal,
  };
  const services = runServices(context, [
    provide(BACKEND_RESOLVER, {
      resolve: async ({ name, engine, threads }) => ({
        backend: 'cpu',
        engine: 'cpu',
        reason: `${name} ${engine} ${threads}`,
        barrier: () => undefined,
        collective: sumsOfOneProcess,
      }),
    }),
    provide(MODEL_LOADER, { load: async () => loadedOf(tinyModel()) }),
    provide(BATCH_SOURCE_FACTORY, { create: async () => shuffledSource(8, 2) }),
    provide(REPLY_GENERATOR, async (_, conversations) => conversations.map(() => 'a reply')),
    provide(CLUSTER, { membership: () => ({ rank: 0, count: 1, addresses: ['127.0.0.1:0'] }) }),
    provide(LOGGER, recordingLogger()),
  ]);
  const { run } = await composeRun({ context, services, callbacks: [] });
  for await (const _ of runTraining(run)) continue;
  await services.dispose();
  return reads;
}

it('every key is read by some run, so that no accepted key is without effect', async () => {
  const folder = await temporaryFolder();
  const messages = [
    { role: 'user', content: 'A question?' },
    { role: 'assistant', content: 'An answer.' },
  ];
  writeFileSync(join(folder, 'unused.jsonl'), `${JSON.stringify({ messages })}\n`);
  const training = {
    numTrainEpochs: 1,
    evalStrategy: 'steps',
    evalSteps: 2,
    saveStrategy: 'steps',
    saveSteps: 2,
    saveTotalLimit: 2,
    loadBestModelAtEnd: true,
  };
  const evaluation = { metrics: ['reply-count'] };
  const first = await readsOf({ evaluation, training }, folder);
  const resumed = await readsOf({ evaluation, training: { ...training, resumeFromCheckpoint: true } }, folder);
  const reads = new Set([...first, ...resumed]);
  // `$schema` is for editors, `baseFolder` is resolved into every path, and `stages` into separate runs.
  const others = new Set(['$schema', 'baseFolder', 'stages']);
  expect(frameKeys().filter((key) => !others.has(key) && !reads.has(key))).toEqual([]);
});
