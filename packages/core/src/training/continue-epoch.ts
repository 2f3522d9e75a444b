import { sizesOf, type RunState } from '../checkpoint/index.js';
import type { ResolvedConfig } from '../config/types.js';
import type { BatchSource, ConsumedBatches } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { StepPlan } from './step-plan.js';

type Position = Pick<RunState, 'sizes' | 'batchesConsumed' | 'consumed' | 'leftOut' | 'stepShift'>;

/**
 * Returns the position of a run in its epoch, in batches and steps of the present sizes. If the sizes differ from those
 * of the checkpoint, the run continues with the same samples, and the learning rate follows the samples, too.
 *
 * @throws `CONFIG_CONFLICT` if the data source cannot continue in the middle of an epoch with other sizes
 */
export function positionOf(
  state: RunState,
  data: BatchSource,
  plan: StepPlan,
  config: Pick<ResolvedConfig, 'training' | 'data'>,
): Partial<Position> {
  const sizes = sizesOf(config);
  const { sizes: before, step, epoch } = state;
  if (before === null || JSON.stringify(before) === JSON.stringify(sizes)) return { sizes };
  const { accumulation: _, ...batches } = before;
  const { accumulation, ...presentBatches } = sizes;
  const inBatches: Pick<Position, 'batchesConsumed' | 'consumed' | 'leftOut'> =
    JSON.stringify(batches) === JSON.stringify(presentBatches) ? state : rebased(state, batches, data);
  if (config.training.maxSteps > 0) return { sizes, ...pick(inBatches), stepShift: 0 };
  const stepsLeft = Math.ceil((data.batchesPerEpoch - inBatches.batchesConsumed) / accumulation);
  const stepsOfPosition = (epoch + 1) * plan.stepsPerEpoch - stepsLeft;
  return { sizes, ...pick(inBatches), stepShift: step - stepsOfPosition + state.leftOut.length };
}

const pick = ({ batchesConsumed, consumed, leftOut }: Pick<Position, 'batchesConsumed' | 'consumed' | 'leftOut'>) => ({
  batchesConsumed,
  consumed,
  leftOut,
});

/** Returns the position in batches of other sizes: the batches of the epoch so far are recorded as consumed. */
function rebased(
  { epoch, batchesConsumed, consumed, leftOut }: RunState,
  sizes: Omit<ConsumedBatches, 'ranges'>,
  data: BatchSource,
): Pick<Position, 'batchesConsumed' | 'consumed' | 'leftOut'> {
  // Those that a rollback left out ahead of the position must not come again either.
  const ahead = leftOut.filter((range) => range.epoch === epoch && range.end > batchesConsumed);
  const ranges = [{ begin: 0, end: batchesConsumed }, ...ahead.map(({ begin, end }) => ({ begin, end }))].filter(
    ({ begin, end }) => begin < end,
  );
  // Their positions are not those of the present batches. The entries still count as rollbacks.
  const counted = leftOut.map((range) => ({ epoch: range.epoch, begin: 0, end: 0 }));
  if (ranges.length === 0) return { batchesConsumed, consumed, leftOut: counted };
  if (data.batchesLeft === undefined)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'The data source cannot continue in the middle of an epoch with another batch size.',
      {
        place: { path: 'training.perDeviceTrainBatchSize' },
        expected: `${sizes.batchSize} (in the checkpoint)`,
        hint: 'Resume with the batch size of the checkpoint, or from a checkpoint at the end of an epoch.',
      },
    );
  const all = [...consumed, { ...sizes, ranges }];
  return { batchesConsumed: data.batchesPerEpoch - data.batchesLeft(epoch, all), consumed: all, leftOut: counted };
}
