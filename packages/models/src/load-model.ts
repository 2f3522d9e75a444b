import { join } from 'node:path';
import {
  WhetstoneError,
  type LanguageModel,
  type LoadedModel,
  type ModelLoader,
  type Tokenizer,
  type WeightStorage,
} from '@whetstone/core/contract';
import { exists, isFile, verifyResult } from '@whetstone/core/files';
import type { ArchitectureSpec } from './architectures/index.js';
import { loadRenderer } from './chat-template/index.js';
import { loadLanguageModel, readOutline } from './load-language-model.js';
import { addTokens, createTokenizer, loadTokenizer, readTokenizerFiles } from './tokenizer/index.js';

export interface LoadModelOptions {
  /** Path of a chat template to use instead of the one in the folder. */
  readonly chatTemplatePath?: string | null;
  /** The time that the chat template writes; the present time by default. */
  readonly templateTime?: Date | null;
  /** An adapter's folder, whose generation_config.json may list further stop tokens. */
  readonly adapter?: string | null;
  /** Additional architectures; they may replace built-in ones. */
  readonly architectures?: readonly ArchitectureSpec[];
  /** Decides how each weight is stored on the device; float32 by default. */
  readonly storage?: WeightStorage | null;
  /**
   * Tokens to add to the vocabulary if it lacks them. They are never split, and their embeddings start as the mean of
   * all others.
   */
  readonly addTokens?: readonly string[];
}

/**
 * Loads a model with its tokenizer and chat template from a Hugging Face folder. Tokenizer and template are read before
 * the weights, so that errors in them are reported quickly. Also throws the errors of `loadTokenizer`, `loadRenderer`
 * and `loadLanguageModel`.
 *
 * @throws `MODEL_NOT_FOUND` if the folder does not contain a model
 * @throws `TOKENIZER_INVALID` if the tokenizer belongs to another model
 * @throws `FILE_CHANGED` if Whetstone wrote the folder and a file is missing or changed
 */
export async function loadModel(folder: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  await checkModelFolder(folder);
  await verifyResult(folder);
  const grown =
    options.addTokens === undefined || options.addTokens.length === 0
      ? null
      : addTokens(await readTokenizerFiles(folder), options.addTokens);
  const tokenizer =
    grown === null || grown.added.length === 0 ? await loadTokenizer(folder) : createTokenizer(grown.files);
  const { templateTime } = options;
  const renderer = await loadRenderer(folder, tokenizer, {
    ...options,
    ...(templateTime === undefined || templateTime === null ? {} : { now: () => templateTime }),
  });
  const [first] = grown?.added ?? [];
  const notices: string[] = [];
  const model = await loadLanguageModel(folder, {
    ...options,
    onNotice: (message) => notices.push(message),
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
    ...(notices.length === 0 ? {} : { notices }),
    ...(first === undefined || grown === null ? {} : { companionFiles: grown.written }),
  };
}

/** Checks that config.json exists, so that a wrong path is not reported as a missing tokenizer. */
async function checkModelFolder(folder: string): Promise<void> {
  if (exists(join(folder, 'config.json'))) return;
  const isModelFile = await isFile(folder);
  throw new WhetstoneError(
    'MODEL_NOT_FOUND',
    isModelFile
      ? 'The path of the model is a file instead of a folder.'
      : 'The folder does not contain a model: config.json is missing.',
    {
      place: { file: folder },
      expected: 'a folder with config.json, model.safetensors and tokenizer.json',
      hint: isModelFile
        ? 'The command `import`, or `importGguf` of @whetstone/models, converts a GGUF file into a model folder.'
        : 'Use the path of the folder that contains config.json and the weights.',
    },
  );
}

/**
 * Checks that the beginning and end tokens have embeddings. Other tokens are checked when they are used, because some
 * published models have more added tokens than embeddings.
 *
 * @throws `TOKENIZER_INVALID` if one of them has no embedding
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

/** Loads models from Hugging Face folders. */
export const huggingFaceLoader: ModelLoader = { load: loadModel, outline: readOutline };
