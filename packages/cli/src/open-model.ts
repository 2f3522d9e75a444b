import { join } from 'node:path';
import type { LanguageModel, LoadedModel, Plugin, TensorBackendInfo, WeightStorage } from '@whetstone/core/contract';
import { exists } from '@whetstone/core/files';
import type { LoadedAdapter } from '@whetstone/strategies';
import { pluginsForAdapter } from './adapter-plugins.js';
import { findModelFolder } from './fetched-models.js';
import { loadModel, resolveBackend } from './on-demand.js';

/** Options of {@link openModel}. */
export interface OpenModelOptions {
  readonly backend?: string;
  readonly adapter?: string;
  /** Plugins of strategies, in addition to the built-in ones, that may read the adapter. */
  readonly plugins?: readonly Plugin[];
  readonly chatTemplate?: string;
  /**
   * A folder whose tokenizer may have further tokens, which are added to the model, and whose generation_config.json
   * may list further stop tokens. By default the adapter's folder.
   */
  readonly tokenizer?: string;
  /** Storage format of the weights. By default that of the adapter's quantised base, if it has one. */
  readonly storage?: WeightStorage;
}

/** A model that is ready to generate. */
export interface OpenModel extends LoadedModel {
  readonly folder: string;
  readonly backend: TensorBackendInfo;
  /** Frees the model and its adapter. */
  dispose(): void;
}

/** Chooses a backend, loads a model by its folder or name, and puts an adapter on it. */
export async function openModel(
  model: string,
  { backend = 'auto', adapter, plugins, chatTemplate, tokenizer = adapter, storage }: OpenModelOptions,
): Promise<OpenModel> {
  const folder = await findModelFolder(model);
  const info = await resolveBackend({ name: backend, threads: null });
  const loaded = await loadModel(folder, {
    storage: storage ?? (await storageFor(adapter)),
    adapter: tokenizer,
    chatTemplatePath: chatTemplate ?? (adapter === undefined ? null : ownFile(adapter, 'chat_template.jinja')),
    addTokens:
      tokenizer === undefined || ownFile(tokenizer, 'tokenizer.json') === null
        ? []
        : await addedTokens(folder, tokenizer),
  });
  await printNotices(loaded.notices ?? []);
  try {
    const warnings: string[] = [];
    const attached =
      adapter === undefined
        ? null
        : await putAdapter(loaded.model, adapter, plugins, (message) => warnings.push(message));
    await printNotices(warnings);
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

async function printNotices(notices: readonly string[]): Promise<void> {
  if (notices.length === 0) return;
  const { createTerminal, terminalLogger } = await import('./terminal.js');
  const { warn } = terminalLogger(createTerminal(false));
  for (const notice of notices) warn(notice);
}

/** Returns the tokens of one folder's tokenizer that another's lacks. */
async function addedTokens(from: string, to: string): Promise<readonly string[]> {
  const { readTokenizerFiles, tokensAddedTo } = await import('@whetstone/models/internal');
  return tokensAddedTo(await readTokenizerFiles(from), await readTokenizerFiles(to));
}

/**
 * Returns an optional file of a folder. An adapter folder contains the template and tokenizer that it was trained with.
 */
export function ownFile(folder: string, name: string): string | null {
  const file = join(folder, name);
  return exists(file) ? file : null;
}

/**
 * Dequantises the base of an adapter to float32 once. Unpacking it for every generated token would be slow.
 */
async function storageFor(adapter: string | undefined): Promise<WeightStorage | null> {
  if (adapter === undefined) return null;
  const { dequantisedStorage, readQuantization } = await import('@whetstone/strategies/internal');
  const quantization = await readQuantization(adapter);
  return quantization === null ? null : dequantisedStorage(quantization);
}

/**
 * Reads an adapter folder and attaches the adapter to a model. If no known strategy reads it, the one that trained it
 * is loaded from its installed package.
 *
 * @param plugins plugins of strategies, in addition to the built-in ones, that may read the adapter
 * @param warn receives a warning if the adapter was trained on another model, or with another version of its strategy
 */
export async function putAdapter(
  model: LanguageModel,
  folder: string,
  plugins: readonly Plugin[] = [],
  warn?: (message: string) => void,
): Promise<LoadedAdapter> {
  const { loadAdapter, readAdapterFolder } = await import('@whetstone/strategies');
  const readers = await pluginsForAdapter(folder, plugins, warn);
  const files = await readAdapterFolder(folder, { warn });
  try {
    return await loadAdapter(model, files, readers, { warn });
  } finally {
    files.dispose();
  }
}
