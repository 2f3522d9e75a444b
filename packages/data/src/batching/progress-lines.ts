import type { Logger } from '@whetstone/core/contract';
import type { ReadingProgress } from '../parallel/pass.js';

const EVERY_SECONDS = 5;

/** Formats seconds: `40 s`, `3 min`. */
const formatSeconds = (seconds: number): string =>
  seconds < 100 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

/** Formats the progress of reading: share, conversations, and time left. */
export function progressLine({ share, conversations, secondsLeft }: ReadingProgress): string {
  return (
    `${Math.floor(share * 100)} % read, ${conversations.toLocaleString('en-US')} conversations, about ` +
    `${formatSeconds(secondsLeft)} left`
  );
}

/** Creates a function that logs the progress of reading every few seconds. */
export function createProgressLines(title: string, logger: Logger): (progress: ReadingProgress) => void {
  let next = EVERY_SECONDS;
  return (progress) => {
    if (progress.seconds < next) return;
    next = progress.seconds + EVERY_SECONDS;
    logger.info(`${title}: ${progressLine(progress)}`);
  };
}
