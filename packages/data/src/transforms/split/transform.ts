import type { Conversation, HeldOutShare } from '@whetstone/core/contract';
import { stringifyExact } from '@whetstone/core/util';
import { comparablePart, hashText } from '../duplicates/fingerprint.js';
import { AUGMENTATION_COLUMN, AUGMENTED_BEFORE, SPLIT_NAME } from '../order.js';
import { createTransform, TRANSFORMS_VERSION, type ReportingTransform } from '../transform-log.js';

/** The number of values of `hashText`. */
const HASH_VALUES = 2 ** 53;

/**
 * Returns whether a conversation belongs to the evaluation data. That depends only on the conversation and the seed:
 * conversations that differ only in case, width, spaces, punctuation or system messages are on the same side, and
 * further data moves none to the other side.
 */
function isHeldOut(conversation: Conversation, { share, seed }: Omit<HeldOutShare, 'part'>): boolean {
  const text = comparablePart(conversation, 'conversation');
  // Conversations without text, such as tool calls only, are distinguished by everything else in them.
  const key = text.trim() === '' ? stringifyExact(conversation.messages) : text;
  return hashText(`${seed}|${key}`) / HASH_VALUES < share;
}

/** Creates the transform that keeps only the training part or only the evaluation part of the conversations. */
export function createSplit(options: HeldOutShare): ReportingTransform {
  const { part, share, seed } = options;
  return createTransform(
    SPLIT_NAME,
    () => (conversation, log) => {
      if (typeof conversation.columns?.[AUGMENTATION_COLUMN] === 'string') log.changed(AUGMENTED_BEFORE);
      const side = isHeldOut(conversation, options) ? 'eval' : 'train';
      if (side === part) return conversation;
      // What the evaluation data leaves out is the training data: only the other removal is reported.
      if (part === 'train') log.remove(conversation, 'held-out', 'it is held out for evaluation');
      return null;
    },
    {
      module: '@whetstone/data/plugins',
      name: 'remakeSplit',
      argument: { part, share, seed, version: TRANSFORMS_VERSION },
    },
  );
}
