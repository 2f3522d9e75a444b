import {
  add,
  concat,
  mul,
  reshape,
  slice,
  sub,
  tensor1d,
  tensor2d,
  tile,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { constant, gatherRows } from '@whetstone/core/ops';
import type { TokenGrid } from './context.js';
import type { ForwardModel } from './forward-model.js';
import type { ForwardPlan } from './forward-plan.js';
import { embeddingName, positionsName } from './parameters.js';

/**
 * Embeds the tokens of a pass, [tokens] → [tokens, hidden]. With prompt embeddings [promptLength, hidden], every row
 * starts with them: [rows × (promptLength + length), hidden].
 */
export function embed(model: ForwardModel, { tokens, input }: ForwardPlan, prompt: Tensor2D | null): Tensor2D {
  const embedded = embedTokens(model, tensor1d(tokens.ids, 'int32'), tokens.ids); // [tokens, hidden]
  // [tokens, hidden] or [rows × (promptLength + length), hidden]
  const all = prompt === null ? embedded : withPrompt(embedded, input, prompt);
  return addPositions(model, all, tensor1d(tokens.positionIds, 'int32'));
}

/**
 * Returns the scaled embeddings of tokens, without positions: [tokens] → [tokens, hidden].
 *
 * @param hostIds the same ids; read only if rows of the table are replaced
 */
export function embedTokens(model: ForwardModel, ids: Tensor1D, hostIds: Int32Array): Tensor2D {
  const rows = lookUp(model, ids, hostIds); // [tokens, hidden]
  const { embeddingScale } = model.shape;
  return embeddingScale === 1 ? rows : mul(rows, constant(embeddingScale));
}

/** Adds the embeddings of learned positions, if the model has them: [tokens, hidden] → [tokens, hidden]. */
export function addPositions(model: ForwardModel, embedded: Tensor2D, positionIds: Tensor1D): Tensor2D {
  const positions = positionsName(model.shape);
  if (positions === null) return embedded;
  const table = model.parameter(`${positions}.weight`) as Tensor as Tensor2D; // [maxLength, hidden]
  return add(embedded, gatherRows(table, positionIds));
}

/** Returns the rows of the embedding table, or their replacements: [tokens] → [tokens, hidden]. */
function lookUp(
  { shape, parameter, additions: { replacedRows } }: ForwardModel,
  ids: Tensor1D,
  hostIds: Int32Array,
): Tensor2D {
  const table = parameter(`${embeddingName(shape)}.weight`) as Tensor as Tensor2D; // [vocab, hidden]
  const stored = gatherRows(table, ids); // [tokens, hidden]
  if (replacedRows === null) return stored;
  const { rowOf, values } = replacedRows;
  const isReplaced = Float32Array.from(hostIds, (id) => (rowOf.has(id) ? 1 : 0));
  const rows = Int32Array.from(hostIds, (id) => rowOf.get(id) ?? 0);
  const mask = tensor2d(isReplaced, [hostIds.length, 1]); // [tokens, 1]
  const replacement = gatherRows(values(), tensor1d(rows, 'int32')); // [tokens, hidden]
  return add(mul(stored, sub(constant(1), mask)), mul(replacement, mask)); // [tokens, hidden]
}

/** Inserts prompt embeddings before every row: [rows × length, hidden] → [rows × (promptLength + length), hidden]. */
function withPrompt(
  embedded: Tensor2D,
  { rows, length }: Pick<TokenGrid, 'rows' | 'length'>,
  prompt: Tensor2D,
): Tensor2D {
  const [promptLength, hidden] = prompt.shape;
  const forRows = tile(reshape(prompt, [1, promptLength, hidden]), [rows, 1, 1]); // [rows, promptLength, hidden]
  const tokens = reshape(embedded, [rows, length, hidden]); // [rows, length, hidden]
  const joined = concat([forRows, tokens], 1); // [rows, promptLength + length, hidden]
  return reshape(joined, [rows * (promptLength + length), hidden]);
}

/** Removes the prompt embeddings from every row: [rows × (promptLength + length), hidden] → [rows × length, hidden]. */
export function withoutPrompt(hidden: Tensor2D, { rows, length }: TokenGrid, promptLength: number): Tensor2D {
  const features = hidden.shape[1];
  const byRow = reshape(hidden, [rows, length, features]); // `length` includes the prompt
  const inputTokens = slice(byRow, [0, promptLength, 0], [rows, length - promptLength, features]);
  return reshape(inputTokens, [rows * (length - promptLength), features]);
}
