import type { Logger } from '@whetstone/core/contract';
import type { ReadingProgress } from '../parallel/pass.js';

const EVERY_SECONDS = 5;

/** Seconds as people say them: `40 s`, `3 min`. */
const spoken = (seconds: number): string =>
  seconds < 100 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

/** A line for people every few seconds: how far the reading is, and how long it will still take. */
export function progressLine({ share, conversations, secondsLeft }: ReadingProgress): string {
  return (
    `${Math.floor(share * 100)} % read, ${conversations.toLocaleString('en-US')} conversations, about ` +
    `${spoken(secondsLeft)} left`
  );
}

/** Tells a logger every few seconds how far the reading is. */
export function createProgressLines(purpose: string, logger: Logger): (progress: ReadingProgress) => void {
  let next = EVERY_SECONDS;
  return (progress) => {
    if (progress.seconds < next) return;
    next = progress.seconds + EVERY_SECONDS;
    logger.info(`${purpose} data: ${progressLine(progress)}`);
  };
}
