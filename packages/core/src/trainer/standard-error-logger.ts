import type { Logger } from '../contract/index.js';
import { visibleText } from '../util/index.js';

/** Writes warnings and errors to standard error. Skips information and debug messages. */
export const standardErrorLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: (message) => void process.stderr.write(`warning: ${visibleText(message)}\n`),
  error: (message) => void process.stderr.write(`error: ${visibleText(message)}\n`),
};
