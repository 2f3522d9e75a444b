import type { Conversation, Example } from '@whetstone/core/contract';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import { createTokenize, toExample, type Tokenizing } from './tokenize.js';
import { truncate } from './truncate.js';

/** Makes the function that turns a conversation into ids and labels, exactly as batches of these options hold it. */
export function createExampleMaker(
  tokenizing: Tokenizing,
  options: Partial<BatchOptions> = {},
): (conversation: Conversation) => Example {
  const all = { ...defaultBatchOptions, ...options };
  const tokenize = createTokenize(tokenizing, all);
  return (conversation) =>
    toExample(
      truncate(conversation, tokenize(conversation), all.maxLength, all.truncationMode, tokenize),
      conversation.origin,
    );
}
