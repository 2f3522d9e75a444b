import type { ChildProcess } from 'node:child_process';
import { isWhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { errorAsJson } from './terminal.js';

/** Set for the processes that `whetstone train --processes` starts. */
export const LAUNCHED_VARIABLE = 'WHETSTONE_LAUNCHED';

/** The message with which a started process reports its error. The launcher formats it. */
export interface ToldError {
  readonly error: ReturnType<typeof errorAsJson>['error'] & { readonly code?: ErrorCode };
  readonly exitCode: number;
}

/** Whether this process was started by `whetstone train --processes`. */
export const isLaunched = (): boolean => process.env[LAUNCHED_VARIABLE] === '1' && process.send !== undefined;

/**
 * Sends an error to the launcher, which shows it with the worker's rank. Returns false if it must be shown here, too:
 * there is no launcher, or the error is unexpected and has a stack.
 */
export async function tellLauncher(error: unknown): Promise<boolean> {
  if (!isLaunched()) return false;
  const told = { ...errorAsJson(error), exitCode: isWhetstoneError(error) ? error.exitCode : 1 };
  const isSent = await new Promise<boolean>((resolve) => {
    process.send?.(told, undefined, undefined, (failure) => resolve(failure === null || failure === undefined));
  });
  return isSent && isWhetstoneError(error);
}

/** Sends the launcher an error that no code handles. Node prints it with its stack and ends the process. */
export function tellLauncherOfCrashes(): void {
  if (isLaunched()) process.on('uncaughtExceptionMonitor', (error) => void tellLauncher(error));
}

/** The message with which the launcher passes on a signal on Windows, where a signal would end the process at once. */
interface PassedSignal {
  readonly signal: NodeJS.Signals;
}

/** Sends a signal to a started process: on Windows as a message, except for the one that ends it at once. */
export function sendSignal(
  child: Pick<ChildProcess, 'kill' | 'send'>,
  signal: NodeJS.Signals,
  platform: NodeJS.Platform = process.platform,
): void {
  if (platform !== 'win32' || signal === 'SIGKILL') child.kill(signal);
  else child.send({ signal } satisfies PassedSignal, () => undefined);
}

/** Treats signals that the launcher sends as messages like those of the system. */
export function onPassedSignal(): void {
  if (!isLaunched()) return;
  process.on('message', (message: PassedSignal) => {
    process.emit(message.signal, message.signal);
  });
  // The listener must not keep the process alive.
  process.channel?.unref();
}

/** Calls `listener` when the launcher has exited for any reason. */
export function onLauncherGone(listener: () => void): void {
  if (!isLaunched()) return;
  // The event is not repeated for a listener that comes later.
  if (!process.connected) return listener();
  process.once('disconnect', listener);
  // The listener must not keep the process alive.
  process.channel?.unref();
}
