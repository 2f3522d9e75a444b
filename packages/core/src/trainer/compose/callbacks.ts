import { LOGGERS, type Callback } from '../../contract/index.js';
import type { RunServices } from '../../container.js';
import { eventCallback } from '../../events.js';
import { createHookRunner, type HookedCallback } from '../../hooks/index.js';
import type { HookRunner } from '../../hooks/types.js';
import { RUN_CLUSTER } from './cluster.js';
import type { RunContext } from './context.js';
import { PLUGINS } from './plugins.js';

/** The callbacks of the application. */
export interface ApplicationCallbacks {
  readonly callbacks: readonly Callback[];
  /** Whether a later stage of the run uses them again. */
  readonly stay: boolean;
}

/**
 * Creates the hooks of a run: those of configured callbacks, of loggers, of the application's callbacks, and the
 * events. The services dispose the callbacks. Also returns the callbacks of the configuration and the application, and
 * the loggers, which request nothing.
 */
export async function createHooks(
  { resolution: { config }, events }: RunContext,
  services: RunServices,
  application: ApplicationCallbacks,
): Promise<{
  readonly hooks: HookRunner;
  readonly callbacks: readonly HookedCallback[];
  readonly loggers: readonly HookedCallback[];
}> {
  const plugins = await services.resolve(PLUGINS);
  const hooked = (
    callbacks: readonly Callback[],
    nameOf: (index: number) => string,
    stays: boolean,
  ): readonly HookedCallback[] =>
    callbacks.map((callback, index) => {
      const { plugin } = plugins.named(callback, nameOf(index));
      return { plugin, callback, stays };
    });
  const configured = await plugins.createAll('callback', config.callbacks, ['callbacks']);
  const { writes } = await services.resolve(RUN_CLUSTER);
  const loggers = writes ? await services.resolve(LOGGERS) : [];
  // The hooks dispose loggers with the other callbacks, unless the application owns them.
  const loggersStay = !services.release(LOGGERS);
  const ofConfig = hooked(configured, () => 'a callback', false).map((each, index) => ({
    ...each,
    path: `callbacks[${index}].options`,
  }));
  const ofProgram = hooked(application.callbacks, (index) => `callbacks[${index}] of the program`, application.stay);
  const ofLoggers = hooked(loggers, (index) => `LOGGERS[${index}] of the program`, loggersStay).map((each, index) =>
    loggersStay ? each : { ...each, path: `loggers[${index}].options` },
  );
  const hooks = createHookRunner([
    ...ofConfig,
    ...ofLoggers,
    ...ofProgram,
    { plugin: 'events', callback: eventCallback(events.emit) },
  ]);
  services.onDispose(() => hooks.dispose());
  return { hooks, callbacks: [...ofConfig, ...ofProgram], loggers: ofLoggers };
}
