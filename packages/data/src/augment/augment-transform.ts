import type { Conversation, DataTransform, Logger, Message, Origin, TransformReport } from '@whetstone/core/contract';
import { createRandom, type Random } from '@whetstone/core/random';
import { didYouMean } from '@whetstone/core/util';
import { hashText } from '../transforms/duplicates/fingerprint.js';
import { HashMap } from '../transforms/duplicates/hash-map.js';
import { AUGMENTATION_COLUMN } from '../transforms/order.js';
import { readAhead } from './read-ahead.js';
import { createLog, type TransformLog } from '../transforms/transform-log.js';

/** A new conversation: its messages, and its origin if it is not that of the original. */
export interface Derived {
  readonly messages: readonly Message[];
  readonly origin?: Origin;
}

/** Returns new conversations that are derived from one conversation. */
export type Augment = (
  conversation: Conversation,
  random: Random,
  log: TransformLog,
) => readonly Derived[] | Promise<readonly Derived[]>;

/** A transform that never touches evaluation data. */
export interface AugmentTransform extends DataTransform {
  readonly trainOnly: true;
  readonly report: TransformReport;
}

/** What a method of augmentation does in a pass. */
interface AugmentMethod {
  /** Called at the start of a pass. */
  begin(): Augment | Promise<Augment>;
  /** Called at the end of a pass, also if the pass is abandoned. */
  end?(log: TransformLog): void;
  /** Called with the number of conversations of a pass. Conversations are then read ahead to know it early. */
  setTotal?(conversations: number): void;
  /** The conversations that are augmented at once; by default one after the other. */
  readonly atOnce?: number;
  /** The option `roles`, which is reported if no message has a role in it. */
  readonly roles?: readonly string[];
  /** The option `column`, which is reported if no conversation has it. */
  readonly column?: string | undefined;
  readonly logger?: Pick<Logger, 'warn'>;
}

/** Warns about each role of the option `roles` that no message of the data has. */
function warnAboutRoles(
  name: string,
  { roles = [], logger }: Pick<AugmentMethod, 'roles' | 'logger'>,
  present: ReadonlySet<string>,
): void {
  if (present.size === 0) return;
  for (const role of roles) {
    if (present.has(role)) continue;
    const hint = didYouMean(role, [...present]) ?? '';
    const found = [...present].map((each) => JSON.stringify(each)).join(', ');
    logger?.warn(
      `The role ${JSON.stringify(role)} in the option roles of ${name} has no effect: no message of the data has it ` +
        `(found: ${found}). ${hint}`.trimEnd(),
    );
  }
}

/** Warns about the option `column` if no conversation of the data has this column. */
function warnAboutColumn(
  name: string,
  { column, logger }: Pick<AugmentMethod, 'column' | 'logger'>,
  present: ReadonlySet<string>,
): void {
  if (column === undefined || present.has(column)) return;
  const names = [...present].slice(0, 12);
  const found = names.length === 0 ? '' : ` (found: ${names.map((each) => JSON.stringify(each)).join(', ')})`;
  logger?.warn(
    `The option column of ${name} has no effect: no conversation of the data has the column ` +
      `${JSON.stringify(column)}${found}. ${didYouMean(column, names) ?? ''}`.trimEnd(),
  );
}

/** Returns a derived conversation with its origin and the column `augmentation`. */
function augmented(
  original: Conversation,
  { messages, origin = original.origin }: Derived,
  kind: string,
): Conversation {
  return { ...original, messages, origin, columns: { ...original.columns, [AUGMENTATION_COLUMN]: kind } };
}

/** Returns whether a conversation is derived from another one; such conversations are not augmented again. */
const isAugmented = ({ columns }: Conversation): boolean => typeof columns?.[AUGMENTATION_COLUMN] === 'string';

/** The conversations of a pass, to find copies that repeat one. */
function createSeen(): { isNew(messages: readonly Message[]): boolean } {
  const seen = new HashMap();
  return {
    isNew(messages) {
      const { size } = seen;
      seen.add(hashText(JSON.stringify(messages)), 0);
      return seen.size > size;
    },
  };
}

/** Applies a function to the elements of a sequence, several at once, and yields the results in order. */
async function* mapInOrder<T, R>(
  values: AsyncIterable<T>,
  atOnce: number,
  map: (value: T) => R | Promise<R>,
): AsyncGenerator<R> {
  const started: Promise<R>[] = [];
  for await (const value of values) {
    const result = Promise.resolve(value).then(map);
    // A failure is reported when its turn comes.
    result.catch(() => {});
    started.push(result);
    if (started.length >= atOnce) yield await (started.shift() as Promise<R>);
  }
  for (const result of started) yield await result;
}

/**
 * Creates a transform that yields every conversation, followed by the conversations that are derived from it, in the
 * order of the data. The random numbers depend on the index of the conversation, so that the result does not depend on
 * other conversations. A copy that equals an earlier conversation is left out and counted, also one that the data has
 * already.
 */
export function createAugmentTransform(kind: string, seed: number, method: AugmentMethod): AugmentTransform {
  const name = `augment-${kind}`;
  let log = createLog(name);
  return {
    trainOnly: true,
    async *transform(conversations) {
      const current = createLog(name);
      log = current;
      const seen = createSeen();
      const present = { roles: new Set<string>(), columns: new Set<string>() };
      try {
        const augment = await method.begin();
        const derive = async (conversation: Conversation) => ({
          conversation,
          made: isAugmented(conversation)
            ? []
            : await augment(conversation, createRandom(seed, 'augment', kind, conversation.origin.index), current),
        });
        const read = method.setTotal === undefined ? conversations : readAhead(conversations, method.setTotal);
        for await (const { conversation, made } of mapInOrder(read, method.atOnce ?? 1, derive)) {
          current.in();
          for (const { role } of conversation.messages) present.roles.add(role);
          for (const column of Object.keys(conversation.columns ?? {})) present.columns.add(column);
          if (!seen.isNew(conversation.messages) && isAugmented(conversation)) {
            current.remove(conversation, 'repeated', 'an earlier conversation has the same messages');
            continue;
          }
          current.out();
          yield conversation;
          for (const derived of made) {
            if (seen.isNew(derived.messages)) {
              current.changed('added');
              yield augmented(conversation, derived, kind);
            } else current.changed('rejected: repeated');
          }
        }
        warnAboutRoles(name, method, present.roles);
        warnAboutColumn(name, method, present.columns);
      } finally {
        method.end?.(current);
      }
    },
    get report() {
      const { report } = log;
      return { ...report, conversationsOut: report.conversationsOut + (report.changed['added'] ?? 0) };
    },
  };
}
