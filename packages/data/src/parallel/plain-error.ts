import { isWhetstoneError, WhetstoneError, type ErrorCode, type WhetstoneErrorOptions } from '@whetstone/core/contract';
import { messageOf } from '@whetstone/core/util';

/** An error as plain data, which can be sent to another thread. */
export interface PlainError {
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly stack: string | undefined;
  readonly options: WhetstoneErrorOptions;
}

export function toPlainError(error: unknown): PlainError {
  if (!isWhetstoneError(error))
    return {
      code: null,
      message: messageOf(error),
      stack: error instanceof Error ? error.stack : undefined,
      options: {},
    };
  const { code, message, stack, place, expected, found, hint, problems, details } = error;
  const given = Object.entries({ place, expected, found, hint }).filter(([, value]) => value !== undefined);
  return {
    code,
    message,
    stack,
    options: {
      ...Object.fromEntries(given),
      problems,
      details: JSON.parse(JSON.stringify(details)) as Record<string, unknown>,
    },
  };
}

export function fromPlainError({ code, message, stack, options }: PlainError): Error {
  const error = code === null ? new Error(message) : new WhetstoneError(code, message, options);
  if (code === null && stack !== undefined) error.stack = stack;
  return error;
}
