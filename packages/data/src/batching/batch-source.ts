import { WhetstoneError } from '@whetstone/core/contract';
import type {
  BalanceOptions,
  Batch,
  BatchSource,
  BatchSourceDependencies,
  ConsumedBatches,
  DataSource,
  EpochOptions,
} from '@whetstone/core/contract';
import { checkSupervision, supervisionWarnings } from '../proof/check.js';
import type { SupervisionFindings } from '../proof/observe.js';
import { enforceUnreadableLimit } from '../sources/unreadable.js';
import { isTransformed } from '../transforms/apply.js';
import type { LeakFindings } from '../transforms/duplicates/leakage.js';
import { balanceSamples } from './balance.js';
import { collate } from './collate.js';
import { nothingToLearn } from './nothing-to-learn.js';
import { defaultBatchOptions, type BatchOptions } from './options.js';
import { planCurriculum, planEpoch, type EpochPlan, type OrderOptions } from './order.js';
import { prepare, type Prepared, type PrepareInputs } from './prepare.js';
import { remainingBatches } from './remaining.js';
import { layOutRows, rowLengths, type RowTable } from './rows.js';
import { sampleLosses } from './sample-losses.js';
import { missingColumn, type SampleTraits } from './sample-traits.js';
import type { BatchSourceSummary } from './summary.js';
import type { TokenStore } from './token-store.js';

export interface PreparedBatchSource extends BatchSource {
  readonly summary: BatchSourceSummary;
  batchesLeft(epoch: number, consumed: readonly ConsumedBatches[]): number;
  /** Findings of the supervision proof; null if it is off. */
  readonly supervision: SupervisionFindings | null;
  /** Conversations that are also in the evaluation data; null if none was given. */
  readonly leaks: LeakFindings | null;
}

export interface BatchSourceInputs extends PrepareInputs {
  /** Measures losses, for a curriculum by loss. */
  readonly rowLosses?: BatchSourceDependencies['rowLosses'];
  /** Missing options have the defaults of {@link defaultBatchOptions}. */
  readonly options?: Partial<BatchOptions>;
  /** Receives warnings. */
  readonly onWarning?: (message: string) => void;
}

/** Returns the number of conversations that a source read, before transforms removed some. */
function conversationsRead(source: DataSource, conversations: number): number {
  return isTransformed(source) ? (source.reports[0]?.conversationsIn ?? conversations) : conversations;
}

/**
 * Draws the samples of a balance.
 *
 * @throws `CONFIG_CONFLICT` if no conversation has the column, or the weights do not fit the groups
 */
function balancedSamples(
  traits: SampleTraits,
  balance: BalanceOptions,
  seed: number,
): ReturnType<typeof balanceSamples> {
  const { groupNames, groups, columns } = traits;
  const ungrouped = groupNames.indexOf('');
  if (ungrouped !== -1 && groupNames.length === 1) throw missingColumn(balance.by, columns);
  const balanced = balanceSamples({ names: groupNames, groupOf: groups }, balance, seed);
  if (ungrouped === -1) return balanced;
  const count = groups.filter((group) => group === ungrouped).length;
  const warning =
    `${count} of ${groups.length} conversations have no value in the column ${JSON.stringify(balance.by)}; ` +
    'data.balance treats them as a group of their own, with the name "".';
  return { ...balanced, warnings: [warning, ...balanced.warnings] };
}

/** @throws `DATA_UNREADABLE`, `DATA_EMPTY`, `DATA_NOTHING_TO_LEARN` */
function checkPrepared({ summary, withoutTargets }: Prepared, read: number, options: BatchOptions): void {
  enforceUnreadableLimit(summary.unreadable, read, options.unreadableRows);
  const [file] = summary.files;
  const place = file === undefined ? undefined : { file };
  if (summary.conversations === 0 && read > 0)
    throw new WhetstoneError('DATA_EMPTY', 'The transforms, or data.evalShare, leave no conversation.', {
      place,
      expected: 'at least one conversation for training, and one for an evaluation',
      found: `none of ${read}`,
      hint: 'Change data.transforms or data.evalShare, or add data.',
    });
  if (summary.conversations === 0) {
    throw new WhetstoneError('DATA_EMPTY', 'The data has no conversations.', {
      place,
      found: summary.unreadable.length > 0 ? `${summary.unreadable.length} rows, all unreadable` : 'no rows',
    });
  }
  const all = summary.conversations;
  if (withoutTargets.length === all) {
    throw nothingToLearn(withoutTargets, summary, options, 'No conversation has target tokens.');
  }
  if (withoutTargets.length > 0 && options.samplesWithoutTargets === 'error') {
    throw nothingToLearn(
      withoutTargets,
      summary,
      options,
      `${withoutTargets.length} of ${all} conversations have no target tokens.`,
    );
  }
}

/**
 * Returns the difficulty of each row: its length, or the given value of its sample. Returns null without a curriculum.
 *
 * @throws `CONFIG_CONFLICT` if rows are packed or batches have a token budget, as these change the order
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
      'A curriculum cannot be combined with packing or a token budget, which change the order of conversations.',
      {
        place: { path: 'data.curriculum' },
        hint: 'Set "packing" to false and "tokensPerBatch" to null, or remove the curriculum.',
      },
    );
  }
  return curriculum.by === 'length' ? table.length : Array.from(table.sample, (sample) => values[sample] ?? 0);
}

/**
 * Returns the difficulty of each sample under a curriculum by column, or measures losses for a curriculum by loss.
 *
 * @throws `CONFIG_CONFLICT` if losses are needed and `rowLosses` is missing
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
    throw new WhetstoneError('CONFIG_CONFLICT', 'A curriculum by loss needs a model that measures losses.', {
      place: { path: 'data.curriculum.by' },
      expected: 'the dependency rowLosses',
    });
  return sampleLosses(store, padTokenId, rowLosses);
}

/**
 * Reads a source once, renders and tokenizes all conversations, and returns a source of batches. Each epoch can be
 * repeated and started at any batch.
 *
 * @throws `DATA_UNREADABLE` if there are more unreadable rows than allowed
 * @throws `DATA_EMPTY` if the data has no conversations
 * @throws `DATA_NOTHING_TO_LEARN` if conversations have no target tokens
 * @throws `DATA_SUPERVISION` if the supervision proof fails
 * @throws `TEMPLATE_FAILED` if the chat template fails
 * @throws `CONFIG_CONFLICT` if the column of a balance or curriculum is missing, or options do not fit the data
 * @throws `CONTEXT_EXCEEDED` if a conversation is too long and `truncationMode` is `error`
 * @throws any error of the source
 */
export async function createBatchSource(inputs: BatchSourceInputs): Promise<PreparedBatchSource> {
  const options: BatchOptions = { ...defaultBatchOptions, ...inputs.options };
  const prepared = await prepare(inputs, options);
  checkPrepared(prepared, conversationsRead(inputs.source, prepared.summary.conversations), options);
  const { tokens, supervision, traits, leaks } = prepared;
  if (supervision && options.supervisionProof === 'error') checkSupervision(supervision);
  if (supervision) for (const warning of supervisionWarnings(supervision)) inputs.onWarning?.(warning);
  const balanced = options.balance === null ? null : balancedSamples(traits, options.balance, options.seed);
  for (const warning of balanced?.warnings ?? []) inputs.onWarning?.(warning);
  const summary: BatchSourceSummary = {
    ...prepared.summary,
    groups: balanced?.shares,
  };
  const samples = balanced?.samples ?? Int32Array.from({ length: tokens.index.samples }, (_, sample) => sample);
  const table = await tokens.read((store) => layOutRows(store, samples, options));
  const lengths = rowLengths(table);
  const padTokenId = inputs.tokenizer.padTokenId ?? inputs.tokenizer.eosTokenId ?? 0;
  const difficulties = rowDifficulties(
    table,
    await tokens.read((store) => measuredDifficulties(store, traits, padTokenId, inputs, options)),
    options,
  );
  if (
    difficulties !== null &&
    difficulties.length > 1 &&
    Array.from(difficulties).every((each) => each === difficulties[0])
  )
    inputs.onWarning?.(
      `data.curriculum by ${JSON.stringify(options.curriculum?.by)} has no effect: ` +
        'all conversations have the same value.',
    );
  const planOf = (epoch: number, sizes: Partial<OrderOptions> | null = null): EpochPlan => {
    const order = { ...options, ...sizes };
    return difficulties !== null && epoch < (options.curriculum?.epochs ?? 0)
      ? planCurriculum(difficulties, order, epoch)
      : planEpoch(lengths, order, epoch);
  };
  const collateOptions = { padTokenId, padToMultipleOf: options.padToMultipleOf, paddingFree: options.paddingFree };

  const remaining = (number: number, consumed: readonly ConsumedBatches[]) =>
    remainingBatches((sizes) => planOf(number, sizes), consumed);

  /** Returns the rows of each batch of an epoch. */
  function* rowsOfEpoch(number: number, { skip = 0, consumed = [] }: EpochOptions): Generator<ArrayLike<number>> {
    if (consumed.length > 0) {
      const { batches, first } = remaining(number, consumed);
      yield* batches.slice(Math.max(0, skip - first));
      return;
    }
    const plan = planOf(number);
    for (let index = skip; index < plan.starts.length - 1; index++)
      yield plan.rows.subarray(plan.starts[index], plan.starts[index + 1]);
  }

  const batchOf = (rows: ArrayLike<number>, store: TokenStore): Batch => collate(rows, table, store, collateOptions);

  function* epochInMemory(number: number, epochOptions: EpochOptions): Generator<Batch> {
    for (const rows of rowsOfEpoch(number, epochOptions)) yield tokens.readNow((store) => batchOf(rows, store));
  }

  async function* epochInFile(number: number, epochOptions: EpochOptions): AsyncGenerator<Batch> {
    for (const rows of rowsOfEpoch(number, epochOptions)) yield await tokens.read((store) => batchOf(rows, store));
  }

  const epoch = (number: number, epochOptions: EpochOptions = {}): Iterable<Batch> | AsyncIterable<Batch> =>
    (tokens.isInFile ? epochInFile : epochInMemory)(number, epochOptions);

  return {
    batchesPerEpoch: planOf(0).starts.length - 1,
    batchesLeft: (number, consumed) => remaining(number, consumed).batches.length,
    epoch,
    summary,
    supervision,
    leaks,
  };
}
