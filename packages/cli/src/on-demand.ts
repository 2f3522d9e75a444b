import type * as backend from '@whetstone/backend';
import type * as training from '@whetstone/core/training';
import type * as models from '@whetstone/models';

// Functions of packages that are loaded at the first call: a program that only imports them starts fast.

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

export const generateText: typeof models.generateText = async function* (...inputs) {
  yield* (await loadModels()).generateText(...inputs);
};

export const generateReply: typeof models.generateReply = async function* (...inputs) {
  yield* (await loadModels()).generateReply(...inputs);
};

export const collectText: typeof models.collectText = async (...inputs) => (await loadModels()).collectText(...inputs);

export const evaluate: typeof training.evaluate = async (...inputs) =>
  (await import('@whetstone/core/training')).evaluate(...inputs);
