import type { Tensor } from '@tensorflow/tfjs-core';
import type { AdapterFiles, ModelOutline, Problem } from '@whetstone/core/contract';
import { shapeProblem, tensorFile } from '../adapters/adapter-files.js';

/** What decides whether a tensor has a row for each token. */
type Vocabulary = Pick<ModelOutline, 'linearSites' | 'vocabularySize'> & {
  readonly embeddingSite: { readonly name: string };
};

/** A tensor of an adapter's file and the shape that the model expects. */
interface CheckedTensor {
  readonly module: string;
  readonly key: string;
  readonly tensor: Pick<Tensor, 'shape'>;
  readonly expected: readonly number[];
}

const message = 'The adapter was trained on a vocabulary of another size than the model has.';

/**
 * Checks the shape of a tensor. If it belongs to the embedding or the head, and only the number of tokens differs, the
 * problem says so.
 */
export function tableProblem(model: Vocabulary, checked: CheckedTensor, files: AdapterFiles): Problem | null {
  const { module, key, tensor, expected } = checked;
  const problem = shapeProblem(key, tensor, expected, files);
  if (problem === null) return null;
  const isTable = module === model.embeddingSite.name || model.linearSites.get(module)?.isOutput === true;
  const axis = expected.indexOf(model.vocabularySize);
  const found = tensor.shape[axis];
  const differsOnlyThere =
    tensor.shape.length === expected.length &&
    tensor.shape.every((size, index) => index === axis || size === expected[index]);
  if (!isTable || found === undefined || !differsOnlyThere) return problem;
  return {
    message,
    place: { file: tensorFile(files.folder), tensor: key },
    expected: `${model.vocabularySize} rows, as ${module} of the model has`,
    found: `${found} rows`,
    hint:
      `The embedding was resized before the adapter was trained. Resize that of the model in transformers ` +
      `(model.resize_token_embeddings(${found})), save it with the adapter's tokenizer, and use that folder. If the ` +
      'adapter only added tokens, its folder must contain its tokenizer: then the tokens are added to the model.',
  };
}

/** Returns the problems with at most one about the size of the vocabulary. */
export function withOneSize(problems: readonly Problem[]): readonly Problem[] {
  const first = problems.findIndex((problem) => problem.message === message);
  return problems.filter((problem, index) => problem.message !== message || index === first);
}
