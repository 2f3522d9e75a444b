import type {
  BatchSource,
  BatchSourceDependencies,
  BatchSourceFactory,
  DataSource,
  Json,
  Logger,
} from '@whetstone/core/contract';
import { sizeOfFiles } from '../reading/files.js';
import { unusedMappings } from '../sources/unused-mappings.js';
import { applyTransforms } from '../transforms/apply.js';
import { finderOf, leakageError, leakageOptions, type HeldOut } from '../transforms/duplicates/leakage.js';
import { orderWarnings, splitWarning } from '../transforms/order.js';
import { createSplit } from '../transforms/split/transform.js';
import { createManifest } from '../versions/manifest.js';
import { createBatchSource } from './batch-source.js';
import { describeSummary } from './summary.js';
import { createProgressLines } from './progress-lines.js';

export interface BatchSourceFactoryOptions {
  /** The cache folder for tokenized data, which is used for sources of at least `cacheFromBytes`. */
  readonly cacheFolder?: string | null;
  readonly cacheFromBytes?: number;
}

/** Data below this size is tokenized in a few seconds and not cached. */
const CACHE_FROM_BYTES = 16 * 1024 * 1024;

/**
 * Creates the factory that the container registers under BATCH_SOURCE_FACTORY. It applies the transforms, creates the
 * batch source, and logs what was dropped and why.
 */
export function createBatchSourceFactory({
  cacheFolder = null,
  cacheFromBytes = CACHE_FROM_BYTES,
}: BatchSourceFactoryOptions = {}): Required<BatchSourceFactory> {
  const made = new WeakMap<BatchSource, DataSource>();
  /** Sources whose mappings are checked: training and evaluation data may come from one. */
  const checked = new WeakSet<DataSource>();
  const warnAboutMappings = async (source: DataSource, title: string, logger: Pick<Logger, 'warn'>): Promise<void> => {
    if (checked.has(source)) return;
    checked.add(source);
    for (const message of await unusedMappings(source, title)) logger.warn(message);
  };
  const heldOutOf = ({ data, threshold }: NonNullable<BatchSourceDependencies['heldOut']>): HeldOut | undefined => {
    const source = made.get(data);
    if (source === undefined) return undefined;
    const options = leakageOptions(threshold);
    return {
      key: `${data.summary.contentHash} ${threshold}`,
      fingerprints: options,
      open: () => finderOf(source, options, true),
    };
  };
  return {
    split: createSplit,
    async create(
      source,
      {
        tokenizer,
        renderer,
        logger,
        transforms = [],
        transformOrigins = [],
        rowLosses,
        signal,
        heldOut,
        qualityGate = null,
        title: given,
      },
      { purpose, ...options },
    ) {
      const title = given ?? `${purpose} data`;
      const applied = transforms.flatMap((transform, index) =>
        purpose === 'train' || transform.trainOnly !== true ? [{ transform, origin: transformOrigins[index] }] : [],
      );
      if (purpose === 'train')
        for (const warning of orderWarnings(applied.map(({ transform }) => transform))) logger.warn(warning);
      const transformed = applyTransforms(
        source,
        applied.map(({ transform }) => transform),
      );
      const batches = await createBatchSource({
        source: transformed,
        tokenizer,
        renderer,
        options,
        rowLosses,
        cacheFolder: cacheFolder !== null && sizeOfFiles(source.files) >= cacheFromBytes ? cacheFolder : null,
        onWarning: (message) => logger.warn(message),
        heldOut: heldOut && heldOutOf(heldOut),
        signal,
        onNote: (message) => logger.info(message),
        onThreads: (count) => logger.info(`${title}: read on ${count} worker thread${count === 1 ? '' : 's'}`),
        onProgress: createProgressLines(title, logger),
      });
      await warnAboutMappings(source, title, logger);
      const augmentedBefore = splitWarning(transformed.reports);
      if (augmentedBefore !== null) logger.warn(augmentedBefore);
      if (heldOut !== undefined && batches.leaks !== null && batches.leaks.count > 0) {
        const error = leakageError(batches.leaks);
        if (heldOut.policy === 'error') throw error;
        logger.warn(error.toString());
      }
      if (qualityGate !== null) {
        const { analyseData } = await import('../report/analyse.js');
        const { enforceGate } = await import('../report/gate.js');
        enforceGate(
          await analyseData({
            title,
            source: transformed,
            tokenizing: { tokenizer, renderer },
            options,
            threads: { workers: options.workers, signal },
          }),
          qualityGate,
        );
      }
      for (const line of describeSummary(batches.summary, transformed.reports)) logger.info(`${title}: ${line}`);
      const manifest = await createManifest({
        summary: batches.summary,
        reports: transformed.reports,
        transforms: transformed.transforms,
        origins: applied.map(({ origin }) => origin),
        options,
        renderer,
        tokenizer,
      });
      const result: BatchSource = {
        ...batches,
        summary: { ...batches.summary, manifest: manifest as unknown as Json },
      };
      made.set(result, transformed);
      return result;
    },
  };
}
