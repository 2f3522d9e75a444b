import type { Logger } from '@whetstone/core/contract';
import { duration } from '@whetstone/core/util';
import type { RequestObserver } from './chat-endpoint.js';

/** Seconds between two lines. */
const EVERY = 5;

/** Logs the progress of a pass that asks a model. */
interface RequestProgress extends RequestObserver {
  begin(): void;
  /** Sets the number of conversations of the pass, once it is known. */
  setTotal(conversations: number): void;
  conversationDone(): void;
  /** Logs the counts of the pass, if the model was asked. */
  end(): void;
}

const number = (count: number): string => count.toLocaleString('en-US');
const counted = (count: number, noun: string): string => `${number(count)} ${noun}${count === 1 ? '' : 's'}`;

/**
 * Creates a progress that logs a line every few seconds, at the end, and when the server asks to wait. Once the number
 * of conversations is known, a line contains it and the time that is left. This is estimated from the conversations
 * since the first answer: those before it are answered from the cache.
 */
export function createRequestProgress(
  name: string,
  logger: Pick<Logger, 'info'> | undefined,
  now: () => number = () => performance.now() / 1000,
): RequestProgress {
  let start = 0;
  let next = 0;
  let total: number | null = null;
  let conversations = 0;
  let answers = 0;
  let retries = 0;
  let firstAnswer: { readonly at: number; readonly conversations: number } | null = null;
  const timeLeft = (): string => {
    if (total === null || firstAnswer === null || conversations === total) return '';
    const done = conversations - firstAnswer.conversations;
    if (done === 0) return '';
    const seconds = now() - firstAnswer.at;
    return `, about ${duration((seconds / done) * (total - conversations))} left`;
  };
  const line = (): string => {
    const seconds = Math.max(0.001, now() - start);
    const done =
      total === null
        ? counted(conversations, 'conversation')
        : `${number(conversations)} of ${counted(total, 'conversation')}`;
    const repeated = retries === 0 ? '' : `, ${counted(retries, 'repeated request')}`;
    return (
      `${name}: ${done}, ${counted(answers, 'answer')} of the model ` +
      `(${(answers / seconds).toFixed(1)} a second)${repeated}${timeLeft()}`
    );
  };
  const due = (): void => {
    if (now() < next) return;
    next = now() + EVERY;
    logger?.info(line());
  };
  return {
    begin() {
      start = now();
      next = start + EVERY;
      conversations = answers = retries = 0;
      total = firstAnswer = null;
    },
    setTotal(count) {
      total = count;
    },
    conversationDone() {
      conversations++;
      due();
    },
    answered() {
      answers++;
      firstAnswer ??= { at: now(), conversations };
      due();
    },
    waits(seconds, reason) {
      retries++;
      if (seconds < EVERY) return due();
      next = now() + EVERY;
      logger?.info(`${name}: the next attempt is in ${Math.ceil(seconds)} s: ${reason}`);
    },
    end() {
      if (answers > 0 || retries > 0) logger?.info(line());
    },
  };
}
