import { WhetstoneError, type ForwardInput, type FrozenPrefix, type Positions } from '@whetstone/core/contract';
import { shapesAreStatic } from '@whetstone/core/ops/internal';
import { createTokenGrid, keysOf, type KeyGrid, type TokenGrid } from './context.js';
import { distinctTokens, type DistinctTokens } from './distinct-tokens.js';
import type { DecoderShape } from './shape.js';

/** What one forward pass computes, decided before the first operation. Host data only. */
export interface ForwardPlan {
  readonly input: ForwardInput;
  /** The number of prompt embeddings that this pass inserts before every row. */
  readonly promptLength: number;
  /** The cells that attention reads, [rows × (promptLength + length)]. */
  readonly grid: TokenGrid;
  /** The keys that attention reads, of each row: those of the prefix, then those of the grid. */
  readonly keys: KeyGrid;
  /** The tokens that are computed: the distinct ones, or else all of the input. The positions include the prompt. */
  readonly tokens: Pick<ForwardInput, 'ids' | 'positionIds'>;
  /** Maps tokens to cells, if tokens with equal predecessors are computed once; null if each cell has its own token. */
  readonly distinct: DistinctTokens | null;
  /** The first layers, if they are computed without gradients or read from a cache; null if none are. */
  readonly frozen: FrozenPrefix | null;
  /** The positions to return, as indices of tokens and of cells; null for all. */
  readonly outputs: { readonly tokens: Int32Array; readonly cells: Int32Array } | null;
}

/** What a plan depends on. */
export interface PlanInputs {
  readonly shape: DecoderShape;
  readonly input: ForwardInput;
  readonly positions: Positions;
  /** The number of prefix keys of each layer. */
  readonly prefixLength: number;
  /** The number of prompt embeddings. */
  readonly promptLength: number;
  readonly frozenPrefix: FrozenPrefix | null;
}

/**
 * Decides what one forward pass computes.
 *
 * @throws `INTERNAL` if the arrays of the input do not match its rows and length
 * @throws `TOKENIZER_INVALID` if a token id is outside of the vocabulary
 * @throws `CONTEXT_EXCEEDED` if a position is beyond the table of learned positions
 */
export function planForward(inputs: PlanInputs): ForwardPlan {
  const { shape, input, positions, prefixLength, promptLength } = inputs;
  checkInput(shape, input);

  // The prefix and the prompt embeddings shift the positions.
  const grid = createTokenGrid(input, promptLength, prefixLength);
  checkPositions(shape, grid.positionIds);
  const keys = keysOf(grid, prefixLength);

  const frozen = promptLength === 0 && prefixLength === 0 ? inputs.frozenPrefix : null;
  const distinct = findDistinct({ input, positions, promptLength, frozen });
  const { positionIds } = grid;
  return {
    input,
    promptLength,
    grid,
    keys,
    frozen,
    distinct,
    tokens:
      distinct === null
        ? { ids: input.ids, positionIds }
        : { ids: pick(input.ids, distinct.cellOf), positionIds: pick(positionIds, distinct.cellOf) },
    outputs: positions === 'all' ? null : locateOutputs(positions, input.length, promptLength, distinct),
  };
}

/**
 * Returns the distinct tokens of a pass, or null if all tokens are computed: if they are all needed, if
 * frozen layers return states of all tokens, or if the backend would compile each number of distinct tokens
 * separately.
 */
function findDistinct({
  input,
  positions,
  promptLength,
  frozen,
}: Pick<PlanInputs, 'input' | 'positions'> & Pick<ForwardPlan, 'promptLength' | 'frozen'>): DistinctTokens | null {
  if (positions === 'all' || promptLength > 0 || frozen !== null || shapesAreStatic()) return null;
  return distinctTokens(input, positions);
}

const pick = (values: Int32Array, cells: Int32Array): Int32Array => cells.map((cell) => values[cell] ?? 0);

/** Finds the chosen positions of the input in the grid, in which each row starts with the prompt embeddings. */
function locateOutputs(
  positions: Int32Array,
  length: number,
  promptLength: number,
  distinct: DistinctTokens | null,
): NonNullable<ForwardPlan['outputs']> {
  const cells =
    promptLength === 0
      ? positions
      : positions.map((position) => position + promptLength * (1 + Math.floor(position / length)));
  return { cells, tokens: distinct === null ? cells : pick(distinct.tokenOf, cells) };
}

/** Checks that the arrays match the grid, and the ids. */
function checkInput(shape: DecoderShape, { rows, length, ids, positionIds, segmentIds }: ForwardInput): void {
  const tokens = rows * length;
  if (ids.length !== tokens || positionIds.length !== tokens || segmentIds.length !== tokens) {
    throw new WhetstoneError('INTERNAL', 'The arrays of a batch do not match its rows and length.', {
      expected: `${rows} × ${length}`,
      found: `${ids.length}, ${positionIds.length}, ${segmentIds.length}`,
    });
  }
  checkIds(shape, ids);
}

/** Checks that every id is in the vocabulary. */
export function checkIds(shape: DecoderShape, ids: Int32Array): void {
  const foreign = ids.find((id) => id < 0 || id >= shape.vocabularySize);
  if (foreign !== undefined) {
    throw new WhetstoneError('TOKENIZER_INVALID', "A token id is outside of the model's vocabulary.", {
      expected: `0 to ${shape.vocabularySize - 1}`,
      found: String(foreign),
      hint: 'Use the tokenizer of this model: the tokenizer in use has a larger vocabulary.',
    });
  }
}

/** Checks positions against the table of learned positions, if the model has one. */
export function checkPositions(shape: DecoderShape, positionIds: Int32Array): void {
  if (shape.names.positions === null) return;
  const beyond = positionIds.find((position) => position >= shape.maxLength);
  if (beyond !== undefined) {
    throw new WhetstoneError('CONTEXT_EXCEEDED', 'A sequence is longer than the model has positions for.', {
      expected: `at most ${shape.maxLength} tokens`,
      found: `position ${beyond}`,
    });
  }
}
