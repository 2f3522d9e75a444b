import { tmpdir } from 'node:os';
import {
  WhetstoneError,
  type ChatRenderer,
  type DataSource,
  type DataSummary,
  type Json,
  type Tokenizer,
  type TransformReport,
} from '@whetstone/core/contract';
import type { SupervisionFindings } from '../proof/observe.js';
import { createLeakWatch, type HeldOut, type LeakFindings } from '../transforms/duplicates/leakage.js';
import type { ThreadOptions } from '../parallel/pass.js';
import { tokenizeOnThreads } from '../parallel/tokenize-on-threads.js';
import { cacheFolderOf } from './cache-key.js';
import { createTokenCollector, tokenizeInOrder, type Tokenized } from './collect-tokens.js';
import type { SampleWithoutTargets } from './nothing-to-learn.js';
import type { BatchOptions } from './options.js';
import type { SampleTraits } from './sample-traits.js';
import { isFileSource } from '../sources/conversations.js';
import { isTransformed } from '../transforms/apply.js';
import { saveInCache, touchEntry } from './cache.js';
import { keyOfSource } from './source-key.js';
import { createRecoverableTokens, type RecoverableTokens } from './recoverable-tokens.js';
import { openStore } from './store-file.js';
import type { BatchSourceSummary } from './summary.js';
import type { TokenStore } from './token-store.js';
import { createBlockTokenizer } from './tokenize-block.js';

export interface PrepareInputs extends Omit<ThreadOptions, 'workers'> {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  /** The cache folder for tokenized data; null or absent for no cache. */
  readonly cacheFolder?: string | null;
  /** Tokens that are kept in memory, further ones in files; by default 32 million. */
  readonly memoryTokens?: number;
  /** Evaluation data to search for in this data. */
  readonly heldOut?: HeldOut;
}

/** A tokenized data set with its summary and findings. */
export interface Prepared {
  readonly tokens: RecoverableTokens;
  readonly summary: BatchSourceSummary;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
  readonly traits: SampleTraits;
  /** Null if no evaluation data was given. */
  readonly leaks: LeakFindings | null;
}

/** Returns tokens that are computed again from the source if `file`, which holds them, can no longer be read. */
function recoverable(
  { store, contentHash }: Pick<Tokenized, 'store' | 'contentHash'>,
  file: string,
  inputs: PrepareInputs,
  options: BatchOptions,
): RecoverableTokens {
  const rebuild = async (reason: string): Promise<TokenStore> => {
    inputs.onNote?.(`${file} can no longer be read (${reason}). The data is tokenized again, into memory.`);
    const again = await tokenizeAll({ ...inputs, heldOut: undefined, memoryTokens: Infinity }, options);
    if (again.contentHash === contentHash) return again.store;
    throw new WhetstoneError('DATA_UNREADABLE', 'The data was changed while it was in use.', {
      place: { file: inputs.source.files[0] ?? 'data.train' },
      found: `other conversations than at the start; they were read again because of: ${reason}`,
      hint: 'Start the run again.',
    });
  };
  return createRecoverableTokens(store, rebuild);
}

const TEMPORARY_FILE = `The temporary file of tokens in ${tmpdir()}`;

function complete(tokenized: Tokenized, file: string, inputs: PrepareInputs, options: BatchOptions): Prepared {
  const { counts, contentHash, withoutTargets, supervision, traits, leaks } = tokenized;
  const { source } = inputs;
  return {
    tokens: recoverable(tokenized, file, inputs, options),
    withoutTargets,
    supervision,
    traits,
    leaks,
    summary: { ...counts, files: source.files, unreadable: [...source.unreadable], contentHash },
  };
}

async function tokenizeAll(inputs: PrepareInputs, options: BatchOptions): Promise<Tokenized> {
  const { source, tokenizer, renderer, heldOut } = inputs;
  const held = heldOut && { fingerprints: heldOut.fingerprints, finder: await heldOut.open() };
  const onThreads = await tokenizeOnThreads({ ...inputs, held }, options);
  if (onThreads) return onThreads;
  const { memoryTokens, onNote } = inputs;
  const watch = held === undefined ? null : createLeakWatch(held.finder);
  const collector = createTokenCollector(watch, { memoryTokens, onNote });
  await tokenizeInOrder(
    source.conversations(),
    createBlockTokenizer({ tokenizer, renderer, options, fingerprints: held?.fingerprints ?? null }),
    collector,
    inputs.signal,
  );
  return collector.result();
}

/** The results of a pass that the cache stores in addition to the tokens. */
interface CachedDetails extends Omit<Tokenized, 'store'> {
  readonly unreadable: DataSummary['unreadable'];
  readonly reports: readonly TransformReport[];
}

/** Reads, renders, tokenizes and truncates all conversations of a source, or reads the result from the cache. */
export async function prepare(inputs: PrepareInputs, options: BatchOptions): Promise<Prepared> {
  const { source, tokenizer, renderer, heldOut, cacheFolder = null } = inputs;
  if (cacheFolder === null || tokenizer.hash === undefined)
    return complete(await tokenizeAll(inputs, options), TEMPORARY_FILE, inputs, options);
  const folder = cacheFolderOf(cacheFolder, {
    sourceKey: await keyOfSource(source),
    tokenizerHash: tokenizer.hash,
    renderer,
    options,
    heldOutKey: heldOut?.key ?? null,
  });
  const cached = openStore(
    folder,
    () => inputs.onNote?.('The cached tokens of this data are damaged. The data is tokenized again.'),
    inputs.memoryTokens,
  );
  if (cached) {
    touchEntry(folder);
    const details = cached.details as unknown as CachedDetails;
    if (isTransformed(source)) source.adopt(details);
    else if (isFileSource(source)) source.adopt(details.unreadable);
    return complete({ store: cached.store, ...details }, `The cache of tokens ${folder}`, inputs, options);
  }
  const tokenized = await tokenizeAll(inputs, options);
  const { store, ...rest } = tokenized;
  const details: CachedDetails = {
    ...rest,
    unreadable: source.unreadable,
    reports: isTransformed(source) ? source.reports : [],
  };
  // Without samples the caller throws, so that the cache entry would be useless.
  if (store.samples > 0) {
    const problem = saveInCache(folder, store, details as unknown as Json);
    if (problem !== null) inputs.onNote?.(`The tokens could not be cached for the next run: ${problem}`);
  }
  return complete(tokenized, TEMPORARY_FILE, inputs, options);
}
