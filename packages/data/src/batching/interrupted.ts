import { WhetstoneError } from '@whetstone/core/contract';

/**
 * Ends a long read if the run is interrupted.
 *
 * @throws `INTERRUPTED` if the signal is aborted
 */
export function checkInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WhetstoneError('INTERRUPTED', 'Reading the data was interrupted.', { cause: signal.reason });
}
