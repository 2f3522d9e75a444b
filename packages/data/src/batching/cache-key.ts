import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ChatRenderer } from '@whetstone/core/contract';
import type { BatchOptions } from './options.js';

/**
 * The version of the tokenized data. It is raised whenever the same input results in different tokens or
 * another format.
 */
const CACHE_VERSION = 8;

/** The inputs that determine the tokens of a data set. */
export interface CacheInputs {
  /** Result of `keyOfSource`. */
  readonly sourceKey: string;
  readonly tokenizerHash: string;
  readonly renderer: ChatRenderer;
  readonly options: BatchOptions;
  /** Key of the evaluation data that was searched for; null if there was none. */
  readonly heldOutKey: string | null;
}

/** Renders a small conversation: the result may depend on the date, which some templates write. */
function renderedProbe(renderer: ChatRenderer): string {
  try {
    return renderer.render([
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ]).text;
  } catch {
    return '';
  }
}

/**
 * Returns the cache folder of a data set's tokens. Its name is a hash of content, template, tokenizer and the options
 * that determine the tokens.
 */
export function cacheFolderOf(
  cacheFolder: string,
  { sourceKey, tokenizerHash, renderer, options, heldOutKey }: CacheInputs,
): string {
  const {
    maxLength,
    truncationMode,
    assistantOnlyLoss,
    completionOnlyLoss,
    rolesToTrain,
    lastTurnOnly,
    roleWeights,
    packing,
    packingStrategy,
    samplesWithoutTargets,
    supervisionProof,
    balance,
    curriculum,
  } = options;
  const key = JSON.stringify([
    CACHE_VERSION,
    sourceKey,
    tokenizerHash,
    renderer.hash,
    renderedProbe(renderer),
    maxLength,
    truncationMode,
    assistantOnlyLoss,
    completionOnlyLoss,
    rolesToTrain,
    lastTurnOnly,
    roleWeights,
    packing && packingStrategy !== 'bfd',
    samplesWithoutTargets === 'keep',
    supervisionProof !== 'off',
    balance?.by ?? null,
    curriculum?.by ?? null,
    heldOutKey,
  ]);
  return path.join(cacheFolder, createHash('sha256').update(key).digest('hex').slice(0, 32));
}
