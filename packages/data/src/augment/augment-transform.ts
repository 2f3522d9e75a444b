import type { Conversation, DataTransform, Message, TransformReport } from '@whetstone/core/contract';
import { createRandom, type Random } from '@whetstone/core/random';
import { createTransform, type TransformLog } from '../transforms/transform-log.js';

/** Returns the messages of new conversations that are derived from one conversation. */
export type Augment = (
  conversation: Conversation,
  random: Random,
  log: TransformLog,
) => readonly (readonly Message[])[] | Promise<readonly (readonly Message[])[]>;

/** A transform that never touches evaluation data. */
export interface AugmentTransform extends DataTransform {
  readonly trainOnly: true;
  readonly report: TransformReport;
}

/** Returns a derived conversation with the same origin and the column `augmentation`. */
function augmented(original: Conversation, messages: readonly Message[], kind: string): Conversation {
  return { ...original, messages, columns: { ...original.columns, augmentation: kind } };
}

/** Returns whether a conversation is derived from another one; such conversations are not augmented again. */
const isAugmented = ({ columns }: Conversation): boolean => typeof columns?.['augmentation'] === 'string';

/**
 * Creates a transform that yields every conversation, followed by the conversations that are derived from it. The
 * random numbers depend on the index of the conversation, so that the result does not depend on other conversations.
 *
 * @param end called at the end of a pass, also if the pass is abandoned
 */
export function createAugmentTransform(
  kind: string,
  seed: number,
  begin: () => Augment | Promise<Augment>,
  end: () => void = () => {},
): AugmentTransform {
  const produced: Conversation[] = [];
  // The log counts one output per input; derived conversations are counted as the change "added".
  const inner = createTransform(`augment-${kind}`, async () => {
    const augment = await begin();
    return async (conversation, log) => {
      if (isAugmented(conversation)) return conversation;
      const made = await augment(conversation, createRandom(seed, 'augment', kind, conversation.origin.index), log);
      for (const messages of made) produced.push(augmented(conversation, messages, kind));
      log.changed('added', made.length);
      return conversation;
    };
  });
  return {
    trainOnly: true,
    async *transform(conversations) {
      produced.length = 0;
      try {
        for await (const conversation of inner.transform(conversations)) {
          yield conversation;
          yield* produced.splice(0);
        }
      } finally {
        end();
      }
    },
    get report() {
      const { report } = inner;
      return { ...report, conversationsOut: report.conversationsOut + (report.changed['added'] ?? 0) };
    },
  };
}
