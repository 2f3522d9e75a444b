import { WhetstoneError } from '@whetstone/core/contract';
import type { Batch, BatchSource, BatchSourceDependencies, DataSource } from '@whetstone/core/contract';
import { checkSupervision, supervisionWarnings } from '../proof/check.js';
import type { SupervisionFindings } from '../proof/observe.js';
import { enforceUnreadableLimit } from '../sources/unreadable.js';
import { isTransformed } from '../transforms/apply.js';
import type { LeakFindings } from '../transforms/duplicates/leakage.js';
import { balanceSamples } from './balance.js';
import { collate } from './collate.js';
import { nothingToLearn } from './nothing-to-learn.js';
import { defaultBatchOptions, type BatchOptions } from './options.js';
import { planCurriculum, planEpoch, type EpochPlan } from './order.js';
import { prepare, type Prepared, type PrepareInputs } from './prepare.js';
import { layOutRows, rowLengths, type RowTable } from './rows.js';
import { sampleLosses } from './sample-losses.js';
import type { SampleTraits } from './sample-traits.js';
import type { BatchSourceSummary } from './summary.js';
import type { TokenStore } from './token-store.js';

export interface PreparedBatchSource extends BatchSource {
  readonly summary: BatchSourceSummary;
  /** What the supervision proof found; null where it was off. */
  readonly supervision: SupervisionFindings | null;
  /** What of it is in the evaluation data; null where none was given. */
  readonly leaks: LeakFindings | null;
}

export interface BatchSourceInputs extends PrepareInputs {
  /** Measures losses, for a curriculum that goes by them. */
  readonly rowLosses?: BatchSourceDependencies['rowLosses'];
  /** What is not given has the default of {@link defaultBatchOptions}. */
  readonly options?: Partial<BatchOptions>;
  /** Takes what is not an error but should be known. */
  readonly onWarning?: (message: string) => void;
}

/** Conversations that a source read before transforms took some out. */
function conversationsRead(source: DataSource, conversations: number): number {
  return isTransformed(source) ? (source.reports[0]?.conversationsIn ?? conversations) : conversations;
}

/** @throws DATA_UNREADABLE, DATA_EMPTY, DATA_NOTHING_TO_LEARN */
function checkPrepared({ summary, withoutTargets }: Prepared, read: number, options: BatchOptions): void {
  enforceUnreadableLimit(summary.unreadable, read, options.unreadableRows);
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
    throw nothingToLearn(
      withoutTargets,
      all,
      `${withoutTargets.length} of ${all} conversations have nothing to learn from.`,
    );
  }
}

/**
 * The difficulty of each row under a curriculum: its length, or the column's value; null without a curriculum.
 *
 * @throws CONFIG_CONFLICT where rows are packed or batches follow a token budget: these have an order of their own
 */
function rowDifficulties(
  table: RowTable,
  values: readonly number[],
  { curriculum, packing, tokensPerBatch }: BatchOptions,
): ArrayLike<number> | null {
  if (curriculum === null) return null;
  if (packing || tokensPerBatch !== null) {
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'A curriculum orders single conversations, which packing and token budgets do not leave in order.',
      {
        place: { path: 'data.curriculum' },
        hint: 'Turn "packing" off and "tokensPerBatch" to null, or do without the curriculum.',
      },
    );
  }
  return curriculum.by === 'length' ? table.length : Array.from(table.sample, (sample) => values[sample] ?? 0);
}

/**
 * What a curriculum goes by, sample by sample: a column's numbers, or losses that are measured now. @throws
 * CONFIG_CONFLICT where nothing can measure them
 */
async function measuredDifficulties(
  store: TokenStore,
  traits: SampleTraits,
  padTokenId: number,
  { rowLosses }: BatchSourceInputs,
  { curriculum }: BatchOptions,
): Promise<readonly number[]> {
  if (curriculum?.by !== 'loss') return traits.difficulties;
  if (rowLosses === undefined)
    throw new WhetstoneError('CONFIG_CONFLICT', 'A curriculum by loss needs a model to measure it with.', {
      place: { path: 'data.curriculum.by' },
      expected: 'rowLosses beside the tokenizer',
    });
  return sampleLosses(store, padTokenId, rowLosses);
}

/**
 * Reads a source once, renders and tokenises every conversation, and serves batches of them: any epoch, any number of
 * times, from any position.
 *
 * @throws DATA_UNREADABLE, DATA_EMPTY, DATA_NOTHING_TO_LEARN, DATA_SUPERVISION, TEMPLATE_FAILED, CONTEXT_EXCEEDED, and
 *   whatever reading the source throws
 */
export async function createBatchSource(inputs: BatchSourceInputs): Promise<PreparedBatchSource> {
  const options: BatchOptions = { ...defaultBatchOptions, ...inputs.options };
  const prepared = await prepare(inputs, options);
  checkPrepared(prepared, conversationsRead(inputs.source, prepared.summary.conversations), options);
  const { store, supervision, traits, leaks } = prepared;
  if (supervision && options.supervisionProof === 'error') checkSupervision(supervision);
  if (supervision) for (const warning of supervisionWarnings(supervision)) inputs.onWarning?.(warning);
  const balanced =
    options.balance === null
      ? null
      : balanceSamples({ names: traits.groupNames, groupOf: traits.groups }, options.balance, options.seed);
  const summary: BatchSourceSummary = {
    ...prepared.summary,
    ...(balanced === null ? {} : { groups: balanced.shares }),
  };
  const table = layOutRows(
    store,
    balanced?.samples ?? Int32Array.from({ length: store.samples }, (_, sample) => sample),
    options,
  );
  const lengths = rowLengths(table);
  const padTokenId = inputs.tokenizer.padTokenId ?? inputs.tokenizer.eosTokenId ?? 0;
  const difficulties = rowDifficulties(
    table,
    await measuredDifficulties(store, traits, padTokenId, inputs, options),
    options,
  );
  const planOf = (epoch: number): EpochPlan =>
    difficulties !== null && epoch < (options.curriculum?.epochs ?? 0)
      ? planCurriculum(difficulties, options, epoch)
      : planEpoch(lengths, options, epoch);
  const collateOptions = { padTokenId, padToMultipleOf: options.padToMultipleOf, paddingFree: options.paddingFree };

  function* epoch(number: number, { skip = 0 }: { readonly skip?: number } = {}): Generator<Batch> {
    const plan = planOf(number);
    for (let index = skip; index < plan.starts.length - 1; index++) {
      yield collate(plan.rows.subarray(plan.starts[index], plan.starts[index + 1]), table, store, collateOptions);
    }
  }

  return { batchesPerEpoch: planOf(0).starts.length - 1, epoch, summary, supervision, leaks };
}
