import { createHash } from 'node:crypto';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Batch, BatchSource, BatchSourceFactory, ChatRenderer, Conversation, DataSource, DataSummary, Tokenizer } from '@whetstone/core/contract';
import { countTargets, createTokenize, type NothingToLearnCause } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { checkSupervision, supervisionWarnings } from '../proof/check.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { checkUnreadable } from '../sources/unreadable.js';
import { applyTransforms } from '../transforms/apply.js';
import { collate } from './collate.js';
import { causeOf, nothingToLearn, type SampleWithoutTargets } from './nothing-to-learn.js';
import { describeSummary } from './describe.js';
import { defaultBatchOptions, type BatchOptions } from './options.js';
import { planEpoch } from './order.js';
import { layOutRows, rowLengths } from './rows.js';
import { createTokenStore, type TokenStore } from './token-store.js';

/** The summary of the contract, and what only this package knows. */
export interface BatchSourceSummary extends DataSummary {
  /** Samples in an epoch: conversations that were read, less those without targets where they are skipped. */
  readonly samples: number;
  /** Samples without a target, by cause. */
  readonly withoutTargetsByCause: Readonly<Partial<Record<NothingToLearnCause, number>>>;
  /** Tokens of the longest sample. */
  readonly longest: number;
}

export interface PreparedBatchSource extends BatchSource {
  readonly summary: BatchSourceSummary;
  /** What the supervision proof found; null where it was off. */
  readonly supervision: SupervisionFindings | null;
}

export interface BatchSourceInputs {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  /** What is not given has the default of {@link defaultBatchOptions}. */
  readonly options?: Partial<BatchOptions>;
  /** Takes what is not an error but should be known. */
  readonly onWarning?: (message: string) => void;
}

/** Everything read, tokenised and cut, and what was met on the way. */
interface Prepared {
  readonly store: TokenStore;
  readonly summary: BatchSourceSummary;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
}

/** What decides a conversation's tokens, as one line of text for the content hash: not where it stood, nor columns that nothing learns. */
const contentOf = ({ form, messages, tools }: Conversation): string => `${JSON.stringify([form, messages, tools ?? null])}\n`;

/** Strategies that split long samples over rows cut nothing off. */
const keptLength = ({ packing, packingStrategy, maxLength }: BatchOptions): number | null =>
  packing && packingStrategy !== 'bfd' ? null : maxLength;

async function prepare({ source, tokenizer, renderer }: BatchSourceInputs, options: BatchOptions): Promise<Prepared> {
  const store = createTokenStore();
  const tokenize = createTokenize({ tokenizer, renderer }, options);
  const observer = options.supervisionProof === 'off' ? null : createSupervisionObserver({ tokenizer, renderer });
  const hash = createHash('sha256');
  const withoutTargets: SampleWithoutTargets[] = [];
  let conversations = 0;
  let truncated = 0;
  let tokens = 0;
  let supervisedTokens = 0;
  let longest = 0;
  for await (const conversation of source.conversations()) {
    conversations++;
    hash.update(contentOf(conversation));
    const whole = tokenize(conversation);
    observer?.observe(conversation, whole);
    const sample = truncate(conversation, whole, keptLength(options), options.truncationMode, tokenize);
    if (sample.truncated) truncated++;
    const targets = countTargets(sample.learned);
    if (targets === 0) {
      withoutTargets.push({ origin: conversation.origin, cause: causeOf(conversation, whole, options) });
      if (options.samplesWithoutTargets !== 'keep' || sample.ids.length === 0) continue;
    }
    store.add(sample.ids, sample.learned);
    tokens += sample.ids.length;
    supervisedTokens += targets;
    longest = Math.max(longest, sample.ids.length);
  }
  const withoutTargetsByCause: Partial<Record<NothingToLearnCause, number>> = {};
  for (const { cause } of withoutTargets) withoutTargetsByCause[cause] = (withoutTargetsByCause[cause] ?? 0) + 1;
  return {
    store,
    withoutTargets,
    supervision: observer?.findings() ?? null,
    summary: {
      files: source.files,
      conversations,
      unreadable: [...source.unreadable],
      truncated,
      withoutTargets: withoutTargets.length,
      withoutTargetsByCause,
      samples: store.samples,
      tokens,
      supervisedTokens,
      longest,
      contentHash: hash.digest('hex'),
    },
  };
}

/** @throws DATA_UNREADABLE, DATA_EMPTY, DATA_NOTHING_TO_LEARN */
function checkPrepared({ summary, withoutTargets }: Prepared, options: BatchOptions): void {
  if (options.unreadableRows === 'error') checkUnreadable(summary.unreadable);
  const [file] = summary.files;
  if (summary.conversations === 0) {
    throw new WhetstoneError('DATA_EMPTY', 'The data holds no conversation.', {
      ...(file === undefined ? {} : { place: { file } }),
      found: summary.unreadable.length > 0 ? `${summary.unreadable.length} rows, none of which can be read` : 'no row',
    });
  }
  const all = summary.conversations;
  if (withoutTargets.length === all) {
    throw nothingToLearn(withoutTargets, all, 'No conversation has anything to learn from.');
  }
  if (withoutTargets.length > 0 && options.samplesWithoutTargets === 'error') {
    throw nothingToLearn(withoutTargets, all, `${withoutTargets.length} of ${all} conversations have nothing to learn from.`);
  }
}

/**
 * Reads a source once, renders and tokenises every conversation, and serves batches of them: any epoch, any number of times, from any position.
 *
 * @throws DATA_UNREADABLE, DATA_EMPTY, DATA_NOTHING_TO_LEARN, DATA_SUPERVISION, TEMPLATE_FAILED, CONTEXT_EXCEEDED, and whatever reading the source throws
 */
export async function createBatchSource(inputs: BatchSourceInputs): Promise<PreparedBatchSource> {
  const options: BatchOptions = { ...defaultBatchOptions, ...inputs.options };
  const prepared = await prepare(inputs, options);
  checkPrepared(prepared, options);
  const { store, summary, withoutTargets, supervision } = prepared;
  if (supervision && options.supervisionProof === 'error') checkSupervision(supervision);
  if (supervision) for (const warning of supervisionWarnings(supervision)) inputs.onWarning?.(warning);
  const table = layOutRows(store, options);
  const lengths = rowLengths(table);
  const padTokenId = inputs.tokenizer.padTokenId ?? inputs.tokenizer.eosTokenId ?? 0;
  const collateOptions = { padTokenId, padToMultipleOf: options.padToMultipleOf };

  function* epoch(number: number, { skip = 0 }: { readonly skip?: number } = {}): Generator<Batch> {
    const plan = planEpoch(lengths, options, number);
    for (let index = skip; index < plan.starts.length - 1; index++) {
      const batch = collate(plan.rows.subarray(plan.starts[index], plan.starts[index + 1]), table, store, collateOptions);
      if (batch.supervisedTokens === 0) {
        throw nothingToLearn(withoutTargets, summary.conversations, `Batch ${index + 1} of epoch ${number + 1} has nothing to learn from.`);
      }
      yield batch;
    }
  }

  return { batchesPerEpoch: planEpoch(lengths, options, 0).starts.length - 1, epoch, summary, supervision };
}

/**
 * The factory that the container registers under BATCH_SOURCE_FACTORY: sends the conversations through the transforms, makes batches of them, and tells
 * the logger what was left out and why.
 */
export function createBatchSourceFactory(): BatchSourceFactory {
  return {
    async create(source, { tokenizer, renderer, logger, transforms = [] }, { purpose, ...options }) {
      const transformed = applyTransforms(source, purpose === 'train' ? transforms : transforms.filter(({ trainOnly }) => trainOnly !== true));
      const batches = await createBatchSource({ source: transformed, tokenizer, renderer, options, onWarning: (message) => logger.warn(message) });
      for (const line of describeSummary(batches.summary, transformed.reports)) logger.info(`${purpose} data: ${line}`);
      return batches;
    },
  };
}
