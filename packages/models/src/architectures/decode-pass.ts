import { minimum, tensor1d, tidy, type Tensor, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import type { DecodeRow } from '@whetstone/core/contract';
import { constant } from '@whetstone/core/ops';
import { shapesAreStatic, submitRecording } from '@whetstone/core/ops/internal';
import { createCachedContext } from './context.js';
import { normalizeLast, runLayers, type DecoderPass, type OutputPositions } from './decoder.js';
import { addPositions, embedTokens } from './embedding.js';
import type { ForwardModel } from './forward-model.js';
import { prefixLengthOf } from './forward-pass.js';
import { checkIds, checkPositions } from './forward-plan.js';
import { createKeyValueCache, type DecoderCache } from './key-value-cache.js';
import { frequencyTable } from './rotary-tables.js';

/** Creates a cache whose slots begin with the keys and values of the prefixes and of the prompt embeddings. */
export function startCache(model: ForwardModel, slots: number): DecoderCache {
  const cache = createKeyValueCache(model.shape);
  tidy(() => storePrefixes(model, cache));
  tidy(() => storePromptEmbeddings(model, cache));
  cache.freezeBeginning();
  cache.select(Array.from({ length: slots }, () => 0));
  submitRecording();
  return cache;
}

/** Stores the keys and values of the prefixes in the only slot. */
function storePrefixes({ shape, additions }: ForwardModel, cache: DecoderCache): void {
  const prefixes = new Map([...additions.prefixes].map(([layer, prefix]) => [layer, prefix()]));
  const length = prefixLengthOf(shape, prefixes);
  if (length === 0) return;
  cache.reserve([0], length);
  const store = cache.store([0], tensor1d([...Array(length).keys()], 'int32'));
  for (const [layer, { key, value }] of prefixes) store.append(layer, key, value);
  cache.advance(0, length);
}

/** Computes virtual tokens and stores their keys and values in the only slot. */
function storePromptEmbeddings(model: ForwardModel, cache: DecoderCache): void {
  const prompt = model.additions.promptEmbeddings?.() ?? null; // [promptLength, hidden]
  if (prompt === null) return;
  const [length] = prompt.shape;
  const input = readyInput(model, [{ slot: 0, ids: Array.from({ length }, () => 0) }], cache);
  const tensors = upload(input);
  runLayers(startPass(model, input, tensors, cache), addPositions(model, prompt, tensors.positions));
  cache.advance(0, length);
}

/**
 * Appends tokens to slots of a cache. Returns the hidden state of the last token of each row after the final norm,
 * [rows, hidden].
 *
 * @throws the errors of {@link decodeTokens}
 */
export function readTokens(model: ForwardModel, rows: readonly DecodeRow[], cache: DecoderCache): Tensor2D {
  const input = readyInput(model, rows, cache);
  const hidden = runPass(model, input, upload(input), cache);
  for (const { slot, ids } of rows) cache.advance(slot, ids.length);
  return hidden;
}

/**
 * Appends tokens to slots of a cache and applies `head` to the last token of each row. If every slot gets at most one
 * token, the pass is recorded once and repeated for later tokens.
 *
 * @throws `TOKENIZER_INVALID` if a token id is outside of the vocabulary
 * @throws `CONTEXT_EXCEEDED` if a position is beyond the table of learned positions
 */
export function decodeTokens(
  model: ForwardModel,
  head: (hidden: Tensor2D) => Tensor2D,
  rows: readonly DecodeRow[],
  cache: DecoderCache,
): Tensor2D {
  // Replaced rows of the embedding table are found on the host, for each token.
  const repeats =
    model.additions.replacedRows === null &&
    rows.length === cache.lengths.length &&
    rows.every(({ slot, ids }, row) => slot === row && ids.length <= 1);
  if (!repeats) return head(readTokens(model, rows, cache));
  const input = readyInput(model, rows, cache);
  const { ids, positions, frequencies } = upload(input);
  const logits = cache.repeat([ids, positions, ...frequencies], (tensors) => {
    const [newIds, newPositions, ...newFrequencies] = tensors as [Tensor1D, Tensor1D, ...Tensor[]];
    return head(runPass(model, input, { ids: newIds, positions: newPositions, frequencies: newFrequencies }, cache));
  });
  for (const { slot, ids: read } of rows) cache.advance(slot, read.length);
  return logits as Tensor2D;
}

/** The tokens of a pass on the host, [rows × length]; shorter rows are padded on the right. */
interface PassInput {
  readonly slots: readonly number[];
  readonly length: number;
  readonly ids: Int32Array;
  /** Positions, counted from the first key of the slot. Those of padding are overwritten by later tokens. */
  readonly positions: Int32Array;
  /** Index of the last token of each row. */
  readonly last: Int32Array;
  /** Rotary frequencies: see `frequencyTable`. */
  readonly frequencies: () => readonly Tensor[];
}

/** The tokens of a pass on the device. */
interface PassTensors {
  readonly ids: Tensor1D;
  readonly positions: Tensor1D;
  readonly frequencies: readonly Tensor[];
}

const upload = ({ ids, positions, frequencies }: PassInput): PassTensors => ({
  ids: tensor1d(ids, 'int32'),
  positions: tensor1d(positions, 'int32'),
  frequencies: frequencies(),
});

/** Places the tokens of a pass in a grid, checks them, and reserves room for their keys. */
function readyInput({ shape }: ForwardModel, rows: readonly DecodeRow[], cache: DecoderCache): PassInput {
  const slots = rows.map(({ slot }) => slot);
  const length = paddedLength(Math.max(1, ...rows.map((row) => row.ids.length)));
  const starts = cache.reserve(slots, length);
  const ids = new Int32Array(rows.length * length);
  const positions = Int32Array.from(ids, (_, cell) => (starts[Math.floor(cell / length)] ?? 0) + (cell % length));
  for (const [index, row] of rows.entries()) {
    ids.set(row.ids, index * length);
    checkPositions(shape, positions.subarray(index * length, index * length + row.ids.length));
  }
  checkIds(shape, ids);
  const sequenceLengths = rows.map(
    (row, index) =>
      (starts[index] ?? 0) + Math.max(row.ids.length, (row.sequenceLength ?? 0) - (cache.lengths[row.slot] ?? 0)),
  );
  return {
    slots,
    length,
    ids,
    positions,
    last: Int32Array.from(rows, (row, index) => index * length + Math.max(0, row.ids.length - 1)),
    frequencies: () => shape.ropes.map((rope) => frequencyTable(rope, shape.headDim, sequenceLengths)),
  };
}

/** Computes the layers and the final norm for the last token of each row, [rows, hidden]. */
function runPass(model: ForwardModel, input: PassInput, tensors: PassTensors, cache: DecoderCache): Tensor2D {
  const pass = startPass(model, input, tensors, cache);
  const embedded = addPositions(
    model,
    embedTokens(model, tensors.ids, input.ids),
    // Padding may be beyond the table of learned positions.
    minimum(tensors.positions, constant(model.shape.maxLength - 1, 'int32')),
  ); // [rows × length, hidden]
  const cells = input.length === 1 ? null : tensor1d(input.last, 'int32');
  const outputs: OutputPositions | null = cells === null ? null : { cells, tokens: cells };
  return normalizeLast(pass, runLayers(pass, embedded, { outputs }));
}

function startPass(
  { shape, parameter, linear }: ForwardModel,
  { slots, length }: PassInput,
  { positions, frequencies }: PassTensors,
  cache: DecoderCache,
): DecoderPass {
  const store = cache.store(slots, positions);
  return {
    shape,
    modules: { parameter, linear, prefix: () => null },
    context: createCachedContext(shape, { rows: slots.length, length }, positions, frequencies, store.keys),
    store,
  };
}

/** If each length is compiled, lengths above 1 are rounded up to 32 times a power of two. */
const paddedLength = (length: number): number =>
  length === 1 || !shapesAreStatic() ? length : 32 * 2 ** Math.max(0, Math.ceil(Math.log2(length / 32)));
