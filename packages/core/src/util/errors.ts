/** Returns the message of an error, or any other thrown value as a string. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Returns an error as it is, or any other thrown value as the message of a new one. */
export const toError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)));
