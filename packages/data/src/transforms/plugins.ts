import { definePlugin, type DataTransform, type HeldOutShare, type Json } from '@whetstone/core/contract';
import { decontaminateSchema } from './decontaminate/options.js';
import { deduplicateSchema } from './duplicates/options.js';
import { normalizeSchema } from './normalize/options.js';
import { qualitySchema } from './quality/options.js';
import { redactSchema } from './redact/options.js';
import { topicSchema } from './topics/options.js';
import { TRANSFORMS_VERSION } from './transform-log.js';

const normalizeText = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'normalize-text',
  description: 'Normalizes Unicode, character widths, quotes, spaces and repeated marks, in Chinese and English.',
  configSchema: normalizeSchema,
  create: async (options) => {
    const { createNormalizeTransform } = await import('./normalize/transform.js');
    return createNormalizeTransform(options);
  },
});

const qualityFilter = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'quality-filter',
  description:
    'Removes conversations that are too short or long, repetitive, truncated, in another language, or have roles ' +
    'out of order.',
  configSchema: qualitySchema,
  create: async (options, context) => {
    const { warnAboutUnused, when } = await import('../unused-options.js');
    warnAboutUnused(context, 'quality-filter', {
      minScriptShare: when((options.scripts ?? []).length === 0, 'scripts is empty'),
    });
    const { createQualityTransform } = await import('./quality/transform.js');
    return createQualityTransform(options);
  },
});

const redact = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'redact',
  description:
    'Replaces e-mail addresses, phone, card and identity numbers, postal addresses and names by placeholders.',
  configSchema: redactSchema,
  create: async (options, context) => {
    const { warnAboutUnused, when } = await import('../unused-options.js');
    warnAboutUnused(context, 'redact', {
      countries: when(options.kinds?.includes('phone') === false, 'kinds does not contain phone'),
    });
    const { createRedactTransform } = await import('./redact/transform.js');
    return createRedactTransform(options);
  },
});

const deduplicate = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'deduplicate',
  description:
    'Removes exact and near duplicates of earlier conversations, and conversations that repeat evaluation data.',
  configSchema: deduplicateSchema,
  create: async (options, context) => {
    const { warnAboutUnused, when } = await import('../unused-options.js');
    const isExact = when(options.near === false, 'near is false');
    warnAboutUnused(context, 'deduplicate', {
      threshold: isExact,
      shingle: isExact,
      onLeak: when((options.against ?? []).length === 0, 'against is empty'),
    });
    const { createDeduplicateTransform } = await import('./duplicates/transform.js');
    return createDeduplicateTransform(options, context.baseFolder);
  },
});

const decontaminate = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'decontaminate',
  description: 'Removes conversations that share a sequence of words with a benchmark.',
  configSchema: decontaminateSchema,
  create: async (options, context) => {
    const { createDecontaminateTransform } = await import('./decontaminate/transform.js');
    return createDecontaminateTransform(options, context.baseFolder);
  },
});

const topics = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'topics',
  version: String(TRANSFORMS_VERSION),
  description:
    'Clusters conversations and writes their topics to a column, for a balance by topic if the data has no topics.',
  configSchema: topicSchema,
  create: async (options, context) => {
    const { createTopicTransform } = await import('./topics/transform.js');
    return createTopicTransform(options, context.seed);
  },
});

/** All cleaning transforms. */
export const transformPlugins = [normalizeText, qualityFilter, redact, deduplicate, decontaminate, topics] as const;

/** Creates a built-in transform on a worker thread, from the name and options of its plugin. */
export function remakeTransform(argument: Json): DataTransform | Promise<DataTransform> {
  const { use, options, baseFolder } = argument as {
    readonly use: string;
    readonly options: Json;
    readonly baseFolder: string;
  };
  const plugin = transformPlugins.find(({ name }) => name === use);
  if (!plugin) throw new Error(`The transform "${use}" does not exist.`);
  const silent = (): void => {};
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  return plugin.create(options as never, { logger, seed: 0, baseFolder, outputFolder: null });
}

/** Creates the split of `data.evalShare` in a worker thread. */
export async function remakeSplit(argument: Json): Promise<DataTransform> {
  const { createSplit } = await import('./split/transform.js');
  return createSplit(argument as unknown as HeldOutShare);
}
