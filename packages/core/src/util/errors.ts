/** Returns the message of an error, or any other thrown value as a string. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Returns an error as it is, or any other thrown value as the message of a new one. */
export const toError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));

/** Returns a count with its noun: `1 problem`, `2 problems`. The plural form is the singular with an s by default. */
export const counted = (count: number, one: string, several = `${one}s`): string =>
  `${count} ${count === 1 ? one : several}`;
