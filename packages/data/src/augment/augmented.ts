import type { Conversation, DataTransform, Message, TransformReport } from '@whetstone/core/contract';
import { createRandom, type Random } from '@whetstone/core/random';
import { createTransform, type TransformLog } from '../transforms/transform-log.js';

/** Makes further conversations of one; none where it cannot. */
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

/** The conversation that was made of another: the same origin, and a column that says how it came about. */
function augmented(original: Conversation, messages: readonly Message[], kind: string): Conversation {
  return { ...original, messages, columns: { ...original.columns, augmentation: kind } };
}

/** Whether a conversation is itself augmented: nothing is made of what was made. */
const isAugmented = ({ columns }: Conversation): boolean => typeof columns?.['augmentation'] === 'string';

/**
 * Makes a transform that gives every conversation on, followed by what is made of it. Each conversation has random
 * numbers of its own, by its place in the data, so that it fares the same wherever the others go.
 *
 * @param end called when a pass is over, or was left
 */
export function createAugmentTransform(
  kind: string,
  seed: number,
  begin: () => Augment | Promise<Augment>,
  end: () => void = () => {},
): AugmentTransform {
  const produced: Conversation[] = [];
  // The log counts one conversation out for each that comes in; what is made beside it is counted as a change.
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
