import { createHash } from 'node:crypto';
import path from 'node:path';
import type { ChatRenderer } from '@whetstone/core/contract';
import type { BatchOptions } from './options.js';

/** Raised whenever the same input would give other tokens than before. */
const CACHE_VERSION = 4;

/** Everything that the tokens of a data set depend on. */
export interface CacheInputs {
  /** See `keyOfSource`. */
  readonly sourceKey: string;
  readonly tokenizerHash: string;
  readonly renderer: ChatRenderer;
  readonly options: BatchOptions;
  /** Of the evaluation data that it was looked through for; null where there was none. */
  readonly heldOutKey: string | null;
}

/** What the template makes of a small conversation now: templates may write the date. */
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
 * The folder of a cache in which this data set's tokens belong: a hash of content, template, tokenizer and those
 * options that decide the tokens.
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
