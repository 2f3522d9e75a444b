import { tensor1d, type Tensor2D } from '@tensorflow/tfjs-core';
import {
  WhetstoneError,
  type AttentionPrefix,
  type ForwardInput,
  type FrozenPrefix,
  type Positions,
} from '@whetstone/core/contract';
import { gatherRows } from '@whetstone/core/ops';
import { outsideOfTape } from '@whetstone/core/ops/internal';
import { createContext, type CellMap } from './context.js';
import { normalizeLast, runLayers, type DecoderPass, type OutputPositions } from './decoder.js';
import { embed, withoutPrompt } from './embedding.js';
import type { ForwardModel } from './forward-model.js';
import { planForward, type ForwardPlan } from './forward-plan.js';
import type { DecoderShape } from './shape.js';

/**
 * Computes one forward pass over the input. Returns the hidden states after the final norm, [outputs, hidden].
 *
 * @throws the errors of {@link planForward}
 */
export function runForward(model: ForwardModel, input: ForwardInput, positions: Positions): Tensor2D {
  const { shape, additions } = model;
  const prefixes = new Map([...additions.prefixes].map(([layer, prefix]) => [layer, prefix()]));
  const prompt = additions.promptEmbeddings?.() ?? null; // [promptLength, hidden]
  const plan = planForward({
    shape,
    input,
    positions,
    prefixLength: prefixLengthOf(shape, prefixes),
    promptLength: prompt?.shape[0] ?? 0,
    frozenPrefix: additions.frozenPrefix,
  });
  const pass = createPass(model, plan, prefixes);
  const { frozen, promptLength } = plan;
  // [tokens, hidden]
  const first =
    frozen === null ? embed(model, plan, promptLength === 0 ? null : prompt) : frozenStates(model, frozen, input);
  const outputs = placeOutputs(plan);
  const last = runLayers(pass, first, { first: frozen?.layers ?? 0, outputs }); // [outputs, hidden]
  // If every layer is frozen, runLayers computed none and did not select the outputs.
  const selected = outputs !== null && frozen?.layers === shape.layers.length ? gatherRows(last, outputs.tokens) : last;
  const hidden = normalizeLast(pass, selected); // [outputs, hidden]
  return promptLength === 0 || outputs !== null ? hidden : withoutPrompt(hidden, plan.grid, promptLength);
}

/**
 * Returns the hidden states after the frozen layers, [rows × length, hidden]: computed without gradient bookkeeping, or
 * from the cache that `FrozenPrefix.states` provides.
 */
function frozenStates(model: ForwardModel, { layers, states }: FrozenPrefix, input: ForwardInput): Tensor2D {
  const compute = (rows: ForwardInput): Tensor2D => {
    const plan = planForward({
      shape: model.shape,
      input: rows,
      positions: 'all',
      prefixLength: 0,
      promptLength: 0,
      frozenPrefix: null,
    });
    const pass = createPass(model, plan, new Map());
    return runLayers(pass, embed(model, plan, null), { end: layers });
  };
  return outsideOfTape(() => (states === undefined ? compute(input) : states(input, compute)));
}

/** Creates what the layers compute with: the rotary tables and masks of the plan, on the device. */
function createPass(
  { shape, parameter, linear }: ForwardModel,
  { grid, keys, distinct }: ForwardPlan,
  prefixes: ReadonlyMap<number, AttentionPrefix>,
): DecoderPass {
  const cellMap: CellMap | null =
    distinct === null
      ? null
      : { tokenOf: tensor1d(distinct.tokenOf, 'int32'), cellOf: tensor1d(distinct.cellOf, 'int32') };
  return {
    shape,
    modules: { parameter, linear, prefix: (layer) => prefixes.get(layer) ?? null },
    context: createContext(shape, grid, keys, cellMap),
    store: null,
  };
}

/** Puts the indices of the outputs on the device. */
function placeOutputs({ outputs }: ForwardPlan): OutputPositions | null {
  if (outputs === null) return null;
  const cells = tensor1d(outputs.cells, 'int32');
  return { cells, tokens: outputs.tokens === outputs.cells ? cells : tensor1d(outputs.tokens, 'int32') };
}

/** Returns the number of prefix keys, which must be equal in all layers. */
export function prefixLengthOf(shape: DecoderShape, prefixes: ReadonlyMap<number, AttentionPrefix>): number {
  const lengths = new Set(shape.layers.map((_, layer) => prefixes.get(layer)?.key.shape[2] ?? 0));
  if (lengths.size > 1)
    throw new WhetstoneError('INTERNAL', 'The prefixes of the layers have different lengths.', {
      found: [...lengths].join(', '),
    });
  return [...lengths][0] ?? 0;
}
