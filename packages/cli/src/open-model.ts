import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { resolveBackend } from '@whetstone/backend';
import type { LanguageModel, LoadedModel, TensorBackendInfo } from '@whetstone/core/contract';
import { loadModel, readTokenizerFiles, tokensAddedTo } from '@whetstone/models';
import { loadAdapter, readAdapterFolder, type LoadedAdapter } from '@whetstone/strategies';
import { findModelFolder } from './fetched-models.js';

export interface OpenModelOptions {
  readonly backend?: string;
  readonly adapter?: string;
  readonly chatTemplate?: string;
  /** A folder whose tokenizer may have tokens that the model's has not: they are added. The adapter's by default. */
  readonly tokenizer?: string;
}

/** A model ready to be talked to. */
export interface OpenModel extends LoadedModel {
  readonly folder: string;
  readonly backend: TensorBackendInfo;
  dispose(): void;
}

/** Chooses a backend, loads a model by its folder or name, and puts an adapter on it. */
export async function openModel(model: string, { backend = 'auto', adapter, chatTemplate, tokenizer = adapter }: OpenModelOptions): Promise<OpenModel> {
  const folder = await findModelFolder(model);
  const info = await resolveBackend({ name: backend, threads: null });
  const loaded = await loadModel(folder, {
    chatTemplatePath: chatTemplate ?? (adapter === undefined ? null : ownFile(adapter, 'chat_template.jinja')),
    addTokens: tokenizer === undefined || ownFile(tokenizer, 'tokenizer.json') === null ? [] : tokensAddedTo(await readTokenizerFiles(folder), await readTokenizerFiles(tokenizer)),
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

/** A file of a folder that may be there. An adapter brings its template along, and a tokenizer with added tokens: what it was trained with is what it is asked with. */
function ownFile(folder: string, name: string): string | null {
  const file = join(folder, name);
  return existsSync(file) ? file : null;
}

/** Reads an adapter folder and puts it on a model. */
export async function putAdapter(model: LanguageModel, folder: string): Promise<LoadedAdapter> {
  const files = await readAdapterFolder(folder);
  try {
    return loadAdapter(model, files);
  } finally {
    files.dispose();
  }
}
