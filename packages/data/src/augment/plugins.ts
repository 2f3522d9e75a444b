import path from 'node:path';
import { definePlugin } from '@whetstone/core/contract';
import { TRANSFORMS_VERSION } from '../transforms/transform-log.js';
import { paraphraseSchema, synonymSchema, turnSchema } from './options.js';

const augmentSynonyms = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-synonyms',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds copies of training conversations in which some words are replaced by synonyms (WordNet or a dictionary).',
  configSchema: synonymSchema,
  create: async (options, context) => {
    const { createSynonymTransform } = await import('./synonym-transform.js');
    return createSynonymTransform(options, context);
  },
});

const augmentTurns = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-turns',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds training conversations with an exchange removed, several of one topic and language joined, or two merged.',
  configSchema: turnSchema,
  create: async (options, context) => {
    const { warnAboutUnused, when } = await import('../unused-options.js');
    const unjoined = when(options.methods?.includes('join') === false, 'methods does not contain join');
    warnAboutUnused(context, 'augment-turns', { turns: unjoined, column: unjoined });
    const { createTurnTransform } = await import('./transforms.js');
    return createTurnTransform(options, context);
  },
});

const augmentParaphrase = definePlugin({
  apiVersion: 2,
  kind: 'data-transform',
  name: 'augment-paraphrase',
  version: String(TRANSFORMS_VERSION),
  description:
    'Adds paraphrases of training conversations, written by a model behind an OpenAI-compatible API or on this ' +
    'machine.',
  configSchema: paraphraseSchema,
  create: async (options, context) => {
    const { warnAboutUnused, when } = await import('../unused-options.js');
    const isLocal = when((options.endpoint ?? null) === null, 'endpoint is not set');
    warnAboutUnused(context, 'augment-paraphrase', {
      pivot: when(options.method !== 'back-translation', 'method is paraphrase'),
      apiKeyVariable: isLocal,
      attempts: isLocal,
      timeoutSeconds: isLocal,
      pauseSeconds: isLocal,
    });
    const { createParaphraseTransform } = await import('./transforms.js');
    const cacheFolder = path.resolve(context.baseFolder, options.cacheFolder);
    return createParaphraseTransform({ ...options, cacheFolder }, context);
  },
});

export const augmentPlugins = [augmentSynonyms, augmentTurns, augmentParaphrase] as const;
