import { isWhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { errorAsJson } from './terminal.js';

/** Set for the processes that `whetstone train --processes` starts. */
export const LAUNCHED_VARIABLE = 'WHETSTONE_LAUNCHED';

/** What a started process tells of its end; how an error reads is the launcher's affair. */
export interface ToldError {
  readonly error: ReturnType<typeof errorAsJson>['error'] & { readonly code?: ErrorCode };
  readonly exitCode: number;
}

/** Whether this process was started by `whetstone train --processes`. */
export const isLaunched = (): boolean => process.env[LAUNCHED_VARIABLE] === '1' && process.send !== undefined;

/**
 * Gives an error to the launcher, which shows it by the worker's name. False where there is none: then it is to be
 * shown here.
 */
export async function tellLauncher(error: unknown): Promise<boolean> {
  // A mistake of ours is shown where it happened, with its stack.
  if (!isLaunched() || !isWhetstoneError(error)) return false;
  const told = { ...errorAsJson(error), exitCode: error.exitCode };
  return new Promise((resolve) => {
    process.send?.(told, undefined, undefined, (failure) => resolve(failure === null || failure === undefined));
  });
}

/** Calls `listener` when the launcher is gone, however that came. */
export function onLauncherGone(listener: () => void): void {
  if (!isLaunched()) return;
  process.once('disconnect', listener);
  // Listening alone keeps no process alive.
  process.channel?.unref();
}
