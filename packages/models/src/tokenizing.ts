/** Tokenizers and templates without models: what a worker thread imports. */
import type { ChatRenderer, Json, Tokenizer } from '@whetstone/core/contract';
import { loadRenderer } from './chat-template/index.js';
import { loadTokenizer, type FolderTokenizer } from './tokenizer/index.js';

/** Makes the tokenizer of a recipe: the one of a model folder. */
export function remakeTokenizer(argument: Json): Promise<Tokenizer> {
  return loadTokenizer((argument as { readonly folder: string }).folder);
}

/** Makes the renderer of a recipe, for the tokenizer of the same folder. */
export function remakeRenderer(argument: Json, tokenizer: Tokenizer): Promise<ChatRenderer> {
  const { folder, chatTemplatePath } = argument as {
    readonly folder: string;
    readonly chatTemplatePath: string | null;
  };
  return loadRenderer(folder, tokenizer as FolderTokenizer, { chatTemplatePath });
}
