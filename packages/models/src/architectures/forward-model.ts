import type { Tensor2D, Variable } from '@tensorflow/tfjs-core';
import type { AttentionPrefix, FrozenPrefix, LinearForward } from '@whetstone/core/contract';
import type { DecoderShape } from './shape.js';

/** What a forward pass reads of a model. */
export interface ForwardModel {
  readonly shape: DecoderShape;
  /** Returns a parameter by name. */
  readonly parameter: (name: string) => Variable;
  /** Returns the forward pass of a linear layer, with its wrappers, by name. */
  readonly linear: (name: string) => LinearForward;
  readonly additions: Additions;
}

/** What strategies have added to a model, through its sites. Nothing at first. */
export interface Additions {
  /** Keys and values before those of the tokens, by layer. */
  readonly prefixes: Map<number, () => AttentionPrefix>;
  /** Embeddings of virtual tokens before every row, [promptLength, hidden]. */
  promptEmbeddings: (() => Tensor2D) | null;
  /** Rows of the embedding table that are replaced: the row of `values` [n, hidden] for each token id. */
  replacedRows: { readonly rowOf: ReadonlyMap<number, number>; readonly values: () => Tensor2D } | null;
  /** The layers below the first one that is trained. */
  frozenPrefix: FrozenPrefix | null;
}
