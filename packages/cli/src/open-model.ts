import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LanguageModel, LoadedModel, TensorBackendInfo, WeightStorage } from '@whetstone/core/contract';
import type { LoadedAdapter } from '@whetstone/strategies';
import { findModelFolder } from './fetched-models.js';
import { loadModel, resolveBackend } from './on-demand.js';

/** Options of {@link openModel}. */
export interface OpenModelOptions {
  readonly backend?: string;
  readonly adapter?: string;
  readonly chatTemplate?: string;
  /** A folder whose tokenizer may have tokens that the model's has not: they are added. The adapter's by default. */
  readonly tokenizer?: string;
  /** How weights are kept; with an adapter over a quantised base, as that base by default. */
  readonly storage?: WeightStorage;
}

/** A model ready to be talked to. */
export interface OpenModel extends LoadedModel {
  readonly folder: string;
  readonly backend: TensorBackendInfo;
  /** Frees the model and its adapter. */
  dispose(): void;
}

/** Chooses a backend, loads a model by its folder or name, and puts an adapter on it. */
export async function openModel(
  model: string,
  { backend = 'auto', adapter, chatTemplate, tokenizer = adapter, storage }: OpenModelOptions,
): Promise<OpenModel> {
  const folder = await findModelFolder(model);
  const info = await resolveBackend({ name: backend, threads: null });
  const loaded = await loadModel(folder, {
    storage: storage ?? (await storageFor(adapter)),
    chatTemplatePath: chatTemplate ?? (adapter === undefined ? null : ownFile(adapter, 'chat_template.jinja')),
    addTokens:
      tokenizer === undefined || ownFile(tokenizer, 'tokenizer.json') === null
        ? []
        : await addedTokens(folder, tokenizer),
  });
  try {
    const attached = adapter === undefined ? null : await putAdapter(loaded.model, adapter);
    return {
      ...loaded,
      folder,
      backend: info,
      dispose() {
        attached?.dispose();
        loaded.model.dispose();
      },
    };
  } catch (error) {
    loaded.model.dispose();
    throw error;
  }
}

/** The tokens of one folder's tokenizer that another's lacks. */
async function addedTokens(from: string, to: string): Promise<readonly string[]> {
  const { readTokenizerFiles, tokensAddedTo } = await import('@whetstone/models');
  return tokensAddedTo(await readTokenizerFiles(from), await readTokenizerFiles(to));
}

/**
 * A file of a folder that may be there. An adapter brings its template along, and a tokenizer with added tokens: what
 * it was trained with is what it is asked with.
 */
function ownFile(folder: string, name: string): string | null {
  const file = join(folder, name);
  return existsSync(file) ? file : null;
}

/**
 * The numbers that an adapter was trained over, kept as float32: replies are made token by token, and unpacking costs
 * as much for one as for many.
 */
async function storageFor(adapter: string | undefined): Promise<WeightStorage | null> {
  if (adapter === undefined) return null;
  const { baseNumbers, readQuantization } = await import('@whetstone/strategies/internal');
  const quantization = await readQuantization(adapter);
  return quantization === null ? null : baseNumbers(quantization);
}

/** Reads an adapter folder and puts it on a model. */
export async function putAdapter(model: LanguageModel, folder: string): Promise<LoadedAdapter> {
  const { loadAdapter, readAdapterFolder } = await import('@whetstone/strategies');
  const files = await readAdapterFolder(folder);
  try {
    return loadAdapter(model, files);
  } finally {
    files.dispose();
  }
}
