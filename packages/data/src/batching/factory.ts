import { statSync } from 'node:fs';
import type { BatchSource, BatchSourceFactory, DataSource, Json } from '@whetstone/core/contract';
import { applyTransforms } from '../transforms/apply.js';
import { createContentIndex, leakageError, repeatedIn, type ContentIndex } from '../transforms/duplicates/leakage.js';
import { createManifest } from '../versions/manifest.js';
import { createBatchSource } from './batch-source.js';
import { describeSummary } from './describe.js';
import { createProgressLines } from './progress-lines.js';

export interface BatchSourceFactoryOptions {
  /** A folder for tokenised data, used for sources of `cacheFromBytes` and more. */
  readonly cacheFolder?: string | null;
  readonly cacheFromBytes?: number;
}

/** Data below this size is tokenised in a few seconds: not worth a file. */
const CACHE_FROM_BYTES = 16 * 1024 * 1024;

function bytesOf({ files }: DataSource): number {
  return files.reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0);
}

/**
 * The factory that the container registers under BATCH_SOURCE_FACTORY: sends the conversations through the transforms, makes batches of them, and tells
 * the logger what was left out and why.
 */
export function createBatchSourceFactory({ cacheFolder = null, cacheFromBytes = CACHE_FROM_BYTES }: BatchSourceFactoryOptions = {}): BatchSourceFactory {
  const contents = new WeakMap<BatchSource, ContentIndex>();
  return {
    async create(source, { tokenizer, renderer, logger, transforms = [], rowLosses, signal }, { purpose, ...options }) {
      const transformed = applyTransforms(source, purpose === 'train' ? transforms : transforms.filter(({ trainOnly }) => trainOnly !== true));
      const index = createContentIndex();
      const batches = await createBatchSource({
        source: transformed,
        tokenizer,
        renderer,
        options,
        ...(rowLosses === undefined ? {} : { rowLosses }),
        cacheFolder: cacheFolder !== null && bytesOf(source) >= cacheFromBytes ? cacheFolder : null,
        onWarning: (message) => logger.warn(message),
        index,
        ...(signal === undefined ? {} : { signal }),
        onNote: (message) => logger.info(message),
        onProgress: createProgressLines(purpose, logger),
      });
      for (const line of describeSummary(batches.summary, transformed.reports)) logger.info(`${purpose} data: ${line}`);
      const manifest = await createManifest({ summary: batches.summary, reports: transformed.reports, transforms: transformed.transforms, options, renderer, tokenizer });
      const result: BatchSource = { ...batches, summary: { ...batches.summary, manifest: manifest as unknown as Json } };
      contents.set(result, index);
      return result;
    },

    checkLeakage(train, evaluation, { policy, logger }) {
      const [one, other] = [contents.get(train), contents.get(evaluation)];
      // Exact repetitions alone: they are beyond dispute, and quickly found.
      const leaks = one && other ? repeatedIn(one, other) : [];
      if (leaks.length === 0) return;
      const error = leakageError(leaks);
      if (policy === 'error') throw error;
      logger.warn(`${error.message} ${error.hint ?? ''}`);
    },
  };
}
