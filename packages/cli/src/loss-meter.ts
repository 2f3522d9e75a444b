import { tidy } from '@tensorflow/tfjs-core';
import { supervisedPositions } from '@whetstone/core/training';
import type { Batch, Conversation, Example, LoadedModel, TensorBackendInfo } from '@whetstone/core/contract';
import { crossEntropy } from '@whetstone/core/ops';
import { createExampleMaker } from '@whetstone/data/internal';

/** A model on its backend. */
interface MeasuredModel extends Pick<LoadedModel, 'model' | 'tokenizer' | 'renderer'> {
  readonly backend: TensorBackendInfo;
}

/** Examples in one forward pass: few enough for the logits of long ones to fit into memory. */
const TOGETHER = 8;

/** Collates examples into one batch, one row each, padded on the right. */
function batchOf(examples: readonly Example[], padTokenId: number): Batch {
  const length = Math.max(1, ...examples.map(({ ids }) => ids.length));
  const size = examples.length * length;
  const batch = {
    ids: new Int32Array(size).fill(padTokenId),
    labels: new Int32Array(size).fill(-100),
    segmentIds: new Int32Array(size),
    positionIds: new Int32Array(size),
  };
  for (const [row, { ids, labels }] of examples.entries()) {
    batch.ids.set(ids, row * length);
    batch.labels.set(labels, row * length);
    batch.segmentIds.fill(1, row * length, row * length + ids.length);
    for (let position = 0; position < ids.length; position++) batch.positionIds[row * length + position] = position;
  }
  return { ...batch, rows: examples.length, length, samples: examples.length, tokens: size, supervisedTokens: 0 };
}

/**
 * Creates a function that measures the mean loss of each conversation's supervised tokens, in nats; null if it has
 * none.
 */
export function createLossMeter(
  { model, tokenizer, renderer, backend }: MeasuredModel,
  maxLength: number,
): (conversations: readonly Conversation[]) => Promise<(number | null)[]> {
  const makeExample = createExampleMaker({ tokenizer, renderer }, { maxLength });
  const measure = async (examples: readonly Example[]): Promise<(number | null)[]> => {
    const batch = batchOf(examples, tokenizer.padTokenId ?? tokenizer.eosTokenId ?? 0);
    const supervised = supervisedPositions(batch);
    const sums = examples.map(() => ({ loss: 0, tokens: 0 }));
    if (supervised.targets.length > 0) {
      const losses = tidy(() => crossEntropy(model.logits(batch, supervised.positions), supervised.targets));
      backend.barrier();
      const values = await losses.data();
      losses.dispose();
      for (const [index, position] of supervised.positions.entries()) {
        const sum = sums[Math.floor(position / batch.length)];
        if (!sum) continue;
        sum.loss += values[index] ?? Number.NaN;
        sum.tokens++;
      }
    }
    return sums.map(({ loss, tokens }) => (tokens === 0 ? null : loss / tokens));
  };

  return async (conversations) => {
    const examples = conversations.map(makeExample);
    // Sorted by length: examples of similar length need little padding.
    const order = examples
      .map((_, index) => index)
      .sort((a, b) => (examples[a]?.ids.length ?? 0) - (examples[b]?.ids.length ?? 0));
    const losses: (number | null)[] = examples.map(() => null);
    for (let start = 0; start < order.length; start += TOGETHER) {
      const members = order.slice(start, start + TOGETHER);
      const found = await measure(members.flatMap((member) => examples[member] ?? []));
      for (const [index, member] of members.entries()) losses[member] = found[index] ?? null;
    }
    return losses;
  };
}
