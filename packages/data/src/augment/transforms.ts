import { defaultsOf, type Message, type PluginContext } from '@whetstone/core/contract';
import type { TransformLog } from '../transforms/transform-log.js';
import { createAugmentTransform, type Augment, type AugmentTransform, type Derived } from './augment-transform.js';
import type { Ask } from './answer-cache.js';
import { createEndpoint } from './chat-endpoint.js';
import { createLocalModel } from './local-model.js';
import { paraphraseSchema, turnSchema, type ParaphraseOptions, type TurnOptions } from './options.js';
import { paraphrase, rejectParaphrase } from './paraphrase.js';
import { createRequestProgress } from './request-progress.js';
import { createJoiner, dropExchange, mergeExchanges } from './exchanges.js';

/** Creates a transform that adds conversations with an exchange removed, two exchanges merged, or several joined. */
export function createTurnTransform(
  options: Partial<TurnOptions> = {},
  { seed = 42, logger, isSet }: Partial<Pick<PluginContext, 'seed' | 'logger' | 'isSet'>> = {},
): AugmentTransform {
  const { methods, rate, column, turns } = { ...defaultsOf(turnSchema), ...options };
  const begin = (): Augment => {
    const joiner = createJoiner(column, turns);
    return (conversation, random) => {
      if (conversation.form !== 'chat') return [];
      const made: Derived[] = [];
      for (const method of methods) {
        if (method === 'join') {
          const joined = joiner.add(conversation, random);
          if (joined) made.push(joined);
        } else if (random.uniform() < rate) {
          const messages = (method === 'drop' ? dropExchange : mergeExchanges)(conversation, random);
          if (messages) made.push({ messages });
        }
      }
      return made;
    };
  };
  const isChosen = methods.includes('join') && isSet?.('column') === true;
  return createAugmentTransform('turns', seed, { begin, column: isChosen ? column : undefined, logger });
}

/** Paraphrases the messages of `roles`. Rejected ones stay as they are; null if none is changed. */
async function paraphraseMessages(
  messages: readonly Message[],
  ask: Ask,
  options: Pick<ParaphraseOptions, 'roles' | 'method' | 'pivot' | 'minSimilarity' | 'protect'>,
  log: TransformLog,
): Promise<Message[] | null> {
  let taken = 0;
  const changed = await Promise.all(
    messages.map(async (message): Promise<Message> => {
      const { role, content } = message;
      if (!options.roles.includes(role) || typeof content !== 'string' || content.trim() === '') return message;
      const reply = await paraphrase(content, ask, options);
      const rejection = 'refusal' in reply ? reply.refusal : rejectParaphrase(content, reply.text, options);
      if ('refusal' in reply || rejection !== null) {
        log.changed(`rejected: ${rejection}`);
        return message;
      }
      taken++;
      return { ...message, content: reply.text };
    }),
  );
  return taken > 0 ? changed : null;
}

/**
 * Creates a transform that adds conversations with paraphrased messages. Paraphrases that seem to change the meaning
 * are rejected and counted by reason; see {@link rejectParaphrase}. A model behind an endpoint answers several prompts
 * at once.
 */
export function createParaphraseTransform(
  options: Pick<ParaphraseOptions, 'endpoint' | 'model' | 'cacheFolder'> & Partial<ParaphraseOptions>,
  {
    seed = 42,
    baseFolder = '.',
    openGenerator,
    logger,
    ask,
  }: Partial<Pick<PluginContext, 'seed' | 'baseFolder' | 'openGenerator' | 'logger'>> & { readonly ask?: Ask } = {},
): AugmentTransform {
  const all = { ...defaultsOf(paraphraseSchema), ...options };
  const { endpoint } = all;
  const progress = createRequestProgress('augment-paraphrase', logger);
  const model =
    endpoint === null
      ? createLocalModel(all, { seed, baseFolder, openGenerator }, progress)
      : createEndpoint({ ...all, endpoint }, progress);
  const asked = ask ?? model.ask;
  return createAugmentTransform('paraphrase', seed, {
    begin: () => {
      progress.begin();
      return async ({ messages }, random, log) => {
        const made = random.uniform() < all.rate ? await paraphraseMessages(messages, asked, all, log) : null;
        progress.conversationDone();
        return made === null ? [] : [{ messages: made }];
      };
    },
    setTotal: (conversations) => progress.setTotal(conversations),
    end: () => {
      model.close();
      progress.end();
    },
    // Twice as many conversations as requests: those whose answers are cached, or that wait for their turn in the
    // order of the data, leave no place empty.
    atOnce: endpoint === null ? 1 : all.concurrency * 2,
    roles: all.roles,
    logger,
  });
}
