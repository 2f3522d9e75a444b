import { tensor1d, tidy, type Tensor2D } from '@tensorflow/tfjs-core';
import type { DecodeRow } from '@whetstone/core/contract';
import { shapesAreStatic, submitRecording } from '@whetstone/core/ops/internal';
import { createCachedContext } from './context.js';
import { normalizeLast, runLayers, type DecoderPass, type OutputPositions } from './decoder.js';
import { addPositions, embedTokens } from './embedding.js';
import type { ForwardModel } from './forward-model.js';
import { prefixLengthOf } from './forward-pass.js';
import { checkIds, checkPositions } from './forward-plan.js';
import { createKeyValueCache, type DecoderCache } from './key-value-cache.js';

/** Creates a cache whose slots begin with the keys and values of the prefixes and of the prompt embeddings. */
export function startCache(model: ForwardModel, slots: number): DecoderCache {
  const cache = createKeyValueCache(model.shape);
  tidy(() => {
    const prefixes = new Map([...model.additions.prefixes].map(([layer, prefix]) => [layer, prefix()]));
    const length = prefixLengthOf(model.shape, prefixes);
    if (length === 0) return;
    const store = cache.store([0], length);
    for (const [layer, { key, value }] of prefixes) store.append(layer, key, value);
    cache.advance(0, length);
  });
  tidy(() => {
    const prompt = model.additions.promptEmbeddings?.() ?? null; // [promptLength, hidden]
    if (prompt !== null) readEmbeddings(model, prompt, cache);
  });
  cache.freezeBeginning();
  cache.select(Array.from({ length: slots }, () => 0));
  submitRecording();
  return cache;
}

/** Appends virtual tokens with the embeddings [tokens, hidden] to the only slot. */
function readEmbeddings(model: ForwardModel, embeddings: Tensor2D, cache: DecoderCache): void {
  const [length] = embeddings.shape;
  const { pass, positionIds } = startPass(model, [{ slot: 0, ids: Array.from({ length }, () => 0) }], cache);
  runLayers(pass, addPositions(model, embeddings, positionIds));
  cache.advance(0, length);
}

/**
 * Appends tokens to slots of a cache. Returns the hidden state of the last token of each row after the final norm,
 * [rows, hidden].
 *
 * @throws `TOKENIZER_INVALID` if a token id is outside of the vocabulary
 * @throws `CONTEXT_EXCEEDED` if a position is beyond the table of learned positions
 */
export function runDecode(model: ForwardModel, rows: readonly DecodeRow[], cache: DecoderCache): Tensor2D {
  const { pass, ids, positionIds, outputs } = startPass(model, rows, cache);
  checkIds(model.shape, ids);
  checkPositions(model.shape, positionIds);
  const embedded = addPositions(model, embedTokens(model, ids), positionIds); // [rows × length, hidden]
  const hidden = runLayers(pass, embedded, { outputs }); // [rows, hidden]
  for (const row of rows) cache.advance(row.slot, row.ids.length);
  return normalizeLast(pass, hidden);
}

interface StartedPass {
  readonly pass: DecoderPass;
  /** [rows × length]; shorter rows are padded on the right. */
  readonly ids: Int32Array;
  /** [rows × length]; 0 for padding. */
  readonly positionIds: Int32Array;
  /** The last token of each row; null if the rows have one token. */
  readonly outputs: OutputPositions | null;
}

/** Places the tokens of a pass in a grid and reserves keys for them. Padding is overwritten by the next tokens. */
function startPass(model: ForwardModel, rows: readonly DecodeRow[], cache: DecoderCache): StartedPass {
  const { shape, parameter, linear } = model;
  const length = paddedLength(Math.max(1, ...rows.map((row) => row.ids.length)));
  const store = cache.store(
    rows.map(({ slot }) => slot),
    length,
  );
  const ids = new Int32Array(rows.length * length);
  const positionIds = new Int32Array(rows.length * length);
  const sequenceLengths = rows.map((row, index) => {
    const start = store.starts[index] ?? 0;
    ids.set(row.ids, index * length);
    for (let column = 0; column < row.ids.length; column++) positionIds[index * length + column] = start + column;
    return start + Math.max(row.ids.length, (row.sequenceLength ?? 0) - (cache.lengths[row.slot] ?? 0));
  });
  const last = Int32Array.from(rows, (row, index) => index * length + Math.max(0, row.ids.length - 1));
  const cells = length === 1 ? null : tensor1d(last, 'int32');
  return {
    ids,
    positionIds,
    outputs: cells === null ? null : { cells, tokens: cells },
    pass: {
      shape,
      modules: { parameter, linear, prefix: () => null },
      context: createCachedContext(shape, { rows: rows.length, length, positionIds }, store.keys, sequenceLengths),
      store,
    },
  };
}

/** If each length is compiled, lengths above 1 are rounded up to 32 times a power of two. */
const paddedLength = (length: number): number =>
  length === 1 || !shapesAreStatic() ? length : 32 * 2 ** Math.max(0, Math.ceil(Math.log2(length / 32)));
