/** Recreates tokenizers and chat renderers on a worker thread. Does not import models. */
import type { ChatRenderer, Json, Tokenizer } from '@whetstone/core/contract';
import { loadRenderer } from './chat-template/index.js';
import { loadTokenizer, type FolderTokenizer } from './tokenizer/index.js';

/** Loads the tokenizer of a recipe from its model folder. */
export function remakeTokenizer(argument: Json): Promise<Tokenizer> {
  return loadTokenizer((argument as { readonly folder: string }).folder);
}

/** Loads the chat renderer of a recipe, for the tokenizer of the same folder. */
export function remakeRenderer(argument: Json, tokenizer: Tokenizer): Promise<ChatRenderer> {
  const { folder, now, ...options } = argument as {
    readonly folder: string;
    readonly chatTemplatePath: string | null;
    readonly adapter: string | null;
    readonly now: string;
  };
  return loadRenderer(folder, tokenizer as FolderTokenizer, { ...options, now: () => new Date(now) });
}
