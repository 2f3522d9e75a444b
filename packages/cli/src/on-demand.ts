import type {
  createBackendResolver as CreateBackendResolver,
  resolveBackend as ResolveBackend,
} from '@whetstone/backend';
import type { evaluate as Evaluate } from '@whetstone/core/training';
import type {
  collectText as CollectText,
  generateReply as GenerateReply,
  generateText as GenerateText,
  importGguf as ImportGguf,
  loadModel as LoadModel,
  readOutline as ReadOutline,
} from '@whetstone/models';

// Functions whose packages are loaded at the first call, so that importing them is fast.

export const resolveBackend: typeof ResolveBackend = async (...inputs) =>
  (await import('@whetstone/backend')).resolveBackend(...inputs);

export const createBackendResolver: typeof CreateBackendResolver = (options) => ({
  resolve: async (...inputs) => (await import('@whetstone/backend')).createBackendResolver(options).resolve(...inputs),
});

export const loadModel: typeof LoadModel = async (...inputs) =>
  (await import('@whetstone/models')).loadModel(...inputs);

export const readOutline: typeof ReadOutline = async (...inputs) =>
  (await import('@whetstone/models')).readOutline(...inputs);

export const importGguf: typeof ImportGguf = async (...inputs) =>
  (await import('@whetstone/models')).importGguf(...inputs);

/**
 * Continues texts and streams the result row by row, in complete characters. A text ends at the tokenizer's end token,
 * the chat template's stop tokens or `stopTokenIds`, or before a stop text.
 *
 * @function
 * @throws `USAGE` for an empty prompt, `CONTEXT_EXCEEDED` if a prompt is longer than the model's context
 */
export const generateText: typeof GenerateText = async function* (...inputs) {
  yield* (await import('@whetstone/models')).generateText(...inputs);
};

/**
 * Streams the assistant's reply to a conversation, rendered by the model's chat template.
 *
 * @function
 */
export const generateReply: typeof GenerateReply = async function* (...inputs) {
  yield* (await import('@whetstone/models')).generateReply(...inputs);
};

export const collectText: typeof CollectText = async (...inputs) =>
  (await import('@whetstone/models')).collectText(...inputs);

/**
 * Measures the token-weighted mean loss over a whole data set; null if its signal was aborted.
 *
 * @function
 * @throws `DATA_NOTHING_TO_LEARN` if the data has no target
 */
export const evaluate: typeof Evaluate = async (...inputs) =>
  (await import('@whetstone/core/training')).evaluate(...inputs);
