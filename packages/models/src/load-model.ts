import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  WhetstoneError,
  type LanguageModel,
  type LoadedModel,
  type ModelLoader,
  type Tokenizer,
  type WeightStorage,
} from '@whetstone/core/contract';
import type { ArchitectureSpec } from './architectures/index.js';
import { loadRenderer } from './chat-template/index.js';
import { loadLanguageModel, readOutline } from './load-language-model.js';
import { addTokens, createTokenizer, loadTokenizer, readTokenizerFiles } from './tokenizer/index.js';

export interface LoadModelOptions {
  /** A chat template to use instead of the folder's own. */
  readonly chatTemplatePath?: string | null;
  /** Architectures besides the built-in ones. */
  readonly architectures?: readonly ArchitectureSpec[];
  /** How weights are kept on the device; as float32 where it is left out. */
  readonly storage?: WeightStorage | null;
  /**
   * Tokens that the vocabulary gets, where it has them not: read as wholes, with embeddings that start as the mean of
   * all others.
   */
  readonly addTokens?: readonly string[];
}

/**
 * A model with its tokenizer and chat template, from its Hugging Face folder. The text side is read first: it fails
 * sooner and costs less. Throws `MODEL_NOT_FOUND`, what `loadTokenizer`, `loadRenderer` and `loadLanguageModel` throw,
 * and `TOKENIZER_INVALID` for a tokenizer of another model.
 */
export async function loadModel(folder: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  await refuseOther(folder);
  const grown =
    options.addTokens === undefined || options.addTokens.length === 0
      ? null
      : addTokens(await readTokenizerFiles(folder), options.addTokens);
  const tokenizer =
    grown === null || grown.added.length === 0 ? await loadTokenizer(folder) : createTokenizer(grown.files);
  const renderer = await loadRenderer(folder, tokenizer, options);
  const [first] = grown?.added ?? [];
  const model = await loadLanguageModel(folder, {
    ...options,
    ...(first === undefined || grown === null ? {} : { grow: { first, count: grown.added.length } }),
  });
  try {
    checkSpecialTokens(folder, tokenizer, model);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return {
    model,
    tokenizer,
    renderer,
    ...(first === undefined || grown === null ? {} : { companionFiles: grown.written }),
  };
}

/** What is no model folder at all is told as that, before its tokenizer is missed. */
async function refuseOther(folder: string): Promise<void> {
  if (
    await stat(join(folder, 'config.json')).then(
      () => true,
      () => false,
    )
  )
    return;
  const isFile = await stat(folder).then(
    (found) => found.isFile(),
    () => false,
  );
  throw new WhetstoneError(
    'MODEL_NOT_FOUND',
    isFile ? 'A model is a folder, and this is a file.' : 'There is no model here: config.json is missing.',
    {
      place: { file: folder },
      expected: 'a folder with config.json, model.safetensors and tokenizer.json',
      hint: isFile
        ? 'A GGUF file becomes a model folder with `whetstone import`.'
        : 'Give the folder that holds config.json and the weights.',
    },
  );
}

/**
 * Some models are published with more added tokens than embeddings (their use is refused where it happens), so only
 * tokens that every conversation needs are checked here.
 */
function checkSpecialTokens(folder: string, tokenizer: Tokenizer, model: LanguageModel): void {
  const { bosTokenId, eosTokenId } = tokenizer;
  const beyond = [bosTokenId, eosTokenId].find((id) => id !== null && id >= model.vocabularySize);
  if (beyond === undefined) return;
  throw new WhetstoneError(
    'TOKENIZER_INVALID',
    'The tokenizer does not belong to the model: its special tokens have no embedding.',
    {
      place: { file: join(folder, 'tokenizer.json') },
      expected: `ids below ${model.vocabularySize}`,
      found: String(beyond),
    },
  );
}

export const huggingFaceLoader: ModelLoader = { load: loadModel, outline: readOutline };
