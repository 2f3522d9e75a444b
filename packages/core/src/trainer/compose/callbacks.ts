import type { ResolvedConfig } from '../../config/types.js';
import { LOGGERS, type Callback } from '../../contract/index.js';
import type { RunServices } from '../../container.js';
import { eventCallback, type EventHub } from '../../events.js';
import { createHookRunner, type HookedCallback } from '../../hooks/index.js';
import type { HookRunner } from '../../hooks/types.js';
import { RUN_CLUSTER } from './cluster.js';
import type { ConfiguredPlugins } from './plugins.js';

/** The callbacks of the program. */
export interface ProgramCallbacks {
  readonly callbacks: readonly Callback[];
  /** Whether a later stage of the run uses them again. */
  readonly stay: boolean;
}

/**
 * Creates the hooks of a run: those of configured callbacks, of loggers, of the program's callbacks, and the events.
 * The services dispose the callbacks.
 */
export async function createHooks(
  config: ResolvedConfig,
  services: RunServices,
  plugins: ConfiguredPlugins,
  program: ProgramCallbacks,
  events: EventHub,
): Promise<HookRunner> {
  const configured = await plugins.createAll('callback', config.callbacks, ['callbacks']);
  const { writes } = await services.resolve(RUN_CLUSTER);
  const loggers = writes ? await services.resolve(LOGGERS) : [];
  // The hooks dispose loggers with the other callbacks, unless the program owns them.
  const loggersStay = !services.release(LOGGERS);
  const hooked = (
    callbacks: readonly Callback[],
    nameOf: (index: number) => string,
    stays: boolean,
  ): readonly HookedCallback[] =>
    callbacks.map((callback, index) => {
      const { plugin } = plugins.named(callback, nameOf(index));
      return { plugin, callback, stays };
    });
  const hooks = createHookRunner([
    ...hooked(configured, () => 'a callback', false),
    ...hooked(loggers, (index) => `LOGGERS[${index}] of the program`, loggersStay),
    ...hooked(program.callbacks, (index) => `callbacks[${index}] of the program`, program.stay),
    { plugin: 'events', callback: eventCallback(events.emit) },
  ]);
  services.onDispose(() => hooks.dispose());
  return hooks;
}
