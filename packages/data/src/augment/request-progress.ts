import type { Logger } from '@whetstone/core/contract';
import type { RequestObserver } from './chat-endpoint.js';

/** Seconds between two lines. */
const EVERY = 5;

/** Logs the progress of a pass that sends requests. */
interface RequestProgress extends RequestObserver {
  begin(): void;
  conversationDone(): void;
  /** Logs the counts of the pass, if requests were sent. */
  end(): void;
}

const counted = (count: number, noun: string): string =>
  `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;

/** Creates a progress that logs a line every few seconds, at the end, and when the server asks to wait. */
export function createRequestProgress(name: string, logger: Pick<Logger, 'info'> | undefined): RequestProgress {
  let start = 0;
  let next = 0;
  let conversations = 0;
  let answers = 0;
  let retries = 0;
  const line = (): string => {
    const seconds = Math.max(0.001, (performance.now() - start) / 1000);
    const repeated = retries === 0 ? '' : `, ${counted(retries, 'repeated request')}`;
    return (
      `${name}: ${counted(conversations, 'conversation')}, ${counted(answers, 'answer')} of the model ` +
      `(${(answers / seconds).toFixed(1)} a second)${repeated}`
    );
  };
  const due = (): void => {
    if (performance.now() < next) return;
    next = performance.now() + EVERY * 1000;
    logger?.info(line());
  };
  return {
    begin() {
      start = performance.now();
      next = start + EVERY * 1000;
      conversations = answers = retries = 0;
    },
    conversationDone() {
      conversations++;
      due();
    },
    answered() {
      answers++;
      due();
    },
    waits(seconds, reason) {
      retries++;
      if (seconds < EVERY) return due();
      next = performance.now() + EVERY * 1000;
      logger?.info(`${name}: the next attempt is in ${Math.ceil(seconds)} s: ${reason}`);
    },
    end() {
      if (answers > 0 || retries > 0) logger?.info(line());
    },
  };
}
