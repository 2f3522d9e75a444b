import type { Conversation, Example } from '@whetstone/core/contract';
import { defaultBatchOptions, type BatchOptions } from '../batching/options.js';
import { createTokenize, toExample, type Tokenizing } from './tokenize.js';
import { truncate } from './truncate.js';

/** Creates a function that converts a conversation to the ids and labels that it has in batches with these options. */
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
