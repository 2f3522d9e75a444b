import {
  argMax,
  concat1d,
  logSumExp,
  max,
  neg,
  slice,
  sub,
  tidy,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { IGNORED_LABEL, type Batch } from '../contract/data.js';
import type { LanguageModel, LoadedModel, MetricSample, ReferenceLikelihood } from '../contract/index.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import { crossEntropy } from '../ops/cross-entropy.js';
import { chunkSize } from '../ops/linear-cross-entropy.js';
import { shapesAreStatic } from '../ops/recording.js';
import { MAX_LOGITS_PER_CHUNK } from './cross-entropy-sum.js';
import { padToShapeBucket } from './shape-buckets.js';
import { microbatchOf, type Microbatch } from './supervised-positions.js';

/** Token ids of a prompt with its answer. The tokens from `start` on are those of the answer. */
interface TokenizedAnswer {
  readonly ids: readonly number[];
  readonly start: number;
}

export interface LikelihoodOptions {
  /** The maximum number of tokens of a prompt with its reference. Of longer ones, the first tokens are left out. */
  readonly maxLength: number;
  readonly backend: Pick<TensorBackendInfo, 'barrier'>;
  /** The number of logits in memory at once. */
  readonly logitsAtOnce?: number;
}

/**
 * Returns the likelihood of the reference of each sample, in one forward pass. Only the log-probabilities are read from
 * the device; logits are computed in chunks.
 *
 * @throws `TEMPLATE_FAILED` if the template rejects a conversation
 */
export async function referenceLikelihoods(
  loaded: LoadedModel,
  samples: readonly MetricSample[],
  { maxLength, backend, logitsAtOnce = MAX_LOGITS_PER_CHUNK }: LikelihoodOptions,
): Promise<readonly ReferenceLikelihood[]> {
  const microbatch = microbatchOf(batchOf(samples.map((sample) => tokenizedAnswer(loaded, sample, maxLength))));
  const { batch, positions, targets } = microbatch;
  const [values, highest, mostLikely] = await likelihoodsOf(loaded.model, microbatch, logitsAtOnce, backend);
  const firstTargetOf = (row: number): number => {
    const next = positions.findIndex((position) => position >= row * batch.length);
    return next < 0 ? positions.length : next;
  };
  return samples.map((_, row) => {
    const [begin, end] = [firstTargetOf(row), firstTargetOf(row + 1)];
    return {
      tokens: targets.slice(begin, end),
      logProbabilities: values.slice(begin, end),
      mostLikely: mostLikely.slice(begin, end),
      highestLogProbabilities: highest.slice(begin, end),
    };
  });
}

function tokenizedAnswer(
  { renderer, tokenizer }: Pick<LoadedModel, 'renderer' | 'tokenizer'>,
  { conversation, prompt }: MetricSample,
  maxLength: number,
): TokenizedAnswer {
  const { messages, tools, templateVariables } = conversation;
  const { text, turns } = renderer.render(messages.slice(0, prompt.length + 1), tools, templateVariables);
  const turn = turns.at(-1) ?? null;
  if (turn === null) return { ids: [], start: 0 };
  // A token belongs to the turn if they share a character, as in training.
  const { ids, starts, ends } = tokenizer.encodeWithSpans(text);
  const first = ends.findIndex((end) => end > turn.start);
  const after = starts.findIndex((start) => start >= turn.end);
  const end = after < 0 ? ids.length : after;
  const begin = Math.max(0, end - maxLength);
  return { ids: ids.slice(begin, end), start: Math.max(0, (first < 0 ? end : first) - begin) };
}

/** Pads the rows to the longest one. Only the tokens of the answers are labelled. */
function batchOf(rows: readonly TokenizedAnswer[]): Batch {
  const length = Math.max(1, ...rows.map(({ ids }) => ids.length));
  const size = rows.length * length;
  const [ids, segmentIds, positionIds] = [new Int32Array(size), new Int32Array(size), new Int32Array(size)];
  const labels = new Int32Array(size).fill(IGNORED_LABEL);
  for (const [row, { ids: own, start }] of rows.entries()) {
    for (const [column, id] of own.entries()) {
      const position = row * length + column;
      ids[position] = id;
      segmentIds[position] = 1;
      positionIds[position] = column;
      if (column >= start) labels[position] = id;
    }
  }
  return {
    rows: rows.length,
    length,
    ids,
    labels,
    segmentIds,
    positionIds,
    samples: rows.length,
    tokens: rows.reduce((sum, row) => sum + row.ids.length, 0),
    supervisedTokens: rows.reduce((sum, row) => sum + Math.max(0, row.ids.length - Math.max(1, row.start)), 0),
  };
}

/** Returns the log-probability of each target in nats, `[targets]`, without their weights. */
export async function logProbabilitiesOf(
  model: LanguageModel,
  microbatch: Microbatch,
  logitsAtOnce: number,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<Float32Array> {
  const { targets } = microbatch;
  if (targets.length === 0) return new Float32Array();
  const [negative] = tidy(() =>
    computeChunks(model, microbatch, logitsAtOnce, (logits, chunk) => [crossEntropy(logits, chunk)]),
  );
  backend.barrier();
  return (await readFloats(negative as Tensor1D, targets.length)).map((loss) => -loss);
}

/**
 * Returns for each target its log-probability, the highest one at its position, and the token that has it, each
 * `[targets]`.
 */
async function likelihoodsOf(
  model: LanguageModel,
  microbatch: Microbatch,
  logitsAtOnce: number,
  backend: Pick<TensorBackendInfo, 'barrier'>,
): Promise<readonly [own: Float32Array, highest: Float32Array, mostLikely: Int32Array]> {
  const count = microbatch.targets.length;
  if (count === 0) return [new Float32Array(), new Float32Array(), new Int32Array()];
  const [own, highest, tokens] = tidy(() =>
    computeChunks(model, microbatch, logitsAtOnce, (logits, chunk) => [
      neg(crossEntropy(logits, chunk)),
      sub(max(logits, 1), logSumExp(logits, 1)),
      argMax(logits, 1),
    ]),
  ) as [Tensor1D, Tensor1D, Tensor1D];
  backend.barrier();
  const mostLikely = (await tokens.data<'int32'>()).slice(0, count);
  tokens.dispose();
  return [await readFloats(own, count), await readFloats(highest, count), mostLikely];
}

/** Reads the first `count` values of a tensor and disposes it. */
async function readFloats(tensor: Tensor1D, count: number): Promise<Float32Array> {
  const values = await tensor.data<'float32'>();
  tensor.dispose();
  return values.slice(0, count);
}

/**
 * Computes tensors `[targets]` of the logits `[targets, vocab]`, a chunk at a time. There can be more rows than
 * targets. Call inside `tf.tidy`.
 */
function computeChunks(
  model: LanguageModel,
  microbatch: Microbatch,
  logitsAtOnce: number,
  compute: (logits: Tensor2D, targets: Int32Array) => Tensor1D[],
): Tensor1D[] {
  const { batch, positions, targets } = shapesAreStatic() ? padToShapeBucket(microbatch) : microbatch;
  const size = chunkSize(positions.length, Math.max(1, Math.floor(logitsAtOnce / model.vocabularySize)));
  const hidden = model.hiddenStates(batch, positions);
  const chunks: Tensor1D[][] = [];
  for (let begin = 0; begin < positions.length; begin += size) {
    const rows = Math.min(size, positions.length - begin);
    // The logits of a chunk are disposed before those of the next one are computed.
    const parts = tidy(() =>
      compute(model.head(slice(hidden, [begin, 0], [rows, model.hiddenSize])), targets.subarray(begin, begin + rows)),
    );
    for (const [index, part] of parts.entries()) (chunks[index] ??= []).push(part);
  }
  return chunks.map((parts) => (parts.length === 1 ? (parts[0] as Tensor1D) : concat1d(parts)));
}
