import type * as backend from '@whetstone/backend';
import type * as training from '@whetstone/core/training';
import type * as models from '@whetstone/models';

// Functions whose packages are loaded at the first call, so that importing them is fast.

const loadBackend = () => import('@whetstone/backend');
const loadModels = () => import('@whetstone/models');

export const resolveBackend: typeof backend.resolveBackend = async (...inputs) =>
  (await loadBackend()).resolveBackend(...inputs);

export const createBackendResolver: typeof backend.createBackendResolver = (options) => ({
  resolve: async (...inputs) => (await loadBackend()).createBackendResolver(options).resolve(...inputs),
});

export const loadModel: typeof models.loadModel = async (...inputs) => (await loadModels()).loadModel(...inputs);

export const readOutline: typeof models.readOutline = async (...inputs) => (await loadModels()).readOutline(...inputs);

export const importGguf: typeof models.importGguf = async (...inputs) => (await loadModels()).importGguf(...inputs);

/**
 * Continues texts and streams the result row by row, in complete characters. A text ends at the tokenizer's end token,
 * the chat template's stop tokens or `stopTokenIds`, or before a stop text.
 *
 * @function
 * @throws WhetstoneError `USAGE` for an empty prompt, `CONTEXT_EXCEEDED` if a prompt is longer than the model's context
 */
export const generateText: typeof models.generateText = async function* (...inputs) {
  yield* (await loadModels()).generateText(...inputs);
};

/**
 * Streams the assistant's reply to a conversation, rendered by the model's chat template.
 *
 * @function
 */
export const generateReply: typeof models.generateReply = async function* (...inputs) {
  yield* (await loadModels()).generateReply(...inputs);
};

export const collectText: typeof models.collectText = async (...inputs) => (await loadModels()).collectText(...inputs);

/**
 * Measures the token-weighted mean loss over a whole data set; null if its signal was aborted.
 *
 * @function
 * @throws WhetstoneError `DATA_NOTHING_TO_LEARN` if the data has no target
 */
export const evaluate: typeof training.evaluate = async (...inputs) =>
  (await import('@whetstone/core/training')).evaluate(...inputs);
