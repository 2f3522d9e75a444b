import type { ConfigResolution } from '../../config/index.js';
import { LOGGER, WhetstoneError, defineToken, type Logger, type Token } from '../../contract/index.js';
import { provideFactory, type ServiceRegistration } from '../../container.js';
import type { EventHub } from '../../events.js';
import type { SaveRequests } from '../../training/train-run.js';

/** The inputs of a run that are not services. */
export interface RunContext {
  readonly resolution: ConfigResolution;
  readonly events: EventHub;
  readonly signal: AbortSignal;
  readonly saves?: SaveRequests;
}

/** The logger of a run, whose warnings are also events. */
export const RUN_LOGGER: Token<Logger> = defineToken('RUN_LOGGER');

/** Registers the logger of a run. */
export const loggerServices = ({ events }: RunContext): readonly ServiceRegistration[] => [
  provideFactory(
    RUN_LOGGER,
    (services): Logger => {
      const logger = services.get(LOGGER);
      return {
        debug: (message, fields) => logger.debug(message, fields),
        info: (message, fields) => logger.info(message, fields),
        error: (message, fields) => logger.error(message, fields),
        warn: (message, fields) => {
          logger.warn(message, fields);
          events.emit('warning', { message });
        },
      };
    },
    () => undefined,
  ),
];

/** @throws `INTERRUPTED` if the signal is aborted */
export function throwIfAborted({ signal }: RunContext): void {
  if (signal.aborted)
    throw new WhetstoneError('INTERRUPTED', 'The run was interrupted before it started.', { cause: signal.reason });
}
