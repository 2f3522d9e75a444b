import { WhetstoneError } from '@whetstone/core/contract';

/** @throws INTERRUPTED once the signal is aborted: reading large data takes minutes */
export function checkInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true)
    throw new WhetstoneError('INTERRUPTED', 'Reading the data was interrupted.', { cause: signal.reason });
}
