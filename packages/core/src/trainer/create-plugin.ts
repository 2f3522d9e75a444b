import {
  isWhetstoneError,
  WhetstoneError,
  type Json,
  type Plugin,
  type PluginContext,
  type PluginInstances,
  type PluginKind,
  type Problem,
} from '../contract/index.js';
import { formatPath, type Path } from '../config/paths.js';
import { isObject, valueAt } from '../config/slots.js';
import { trackReads, type TrackedOptions } from '../config/track-reads.js';
import { validateCallback } from '../hooks/index.js';
import { messageOf } from '../util/index.js';

/** What an instance of each kind must have; callbacks and loggers are checked hook by hook. */
const members: Readonly<Record<Exclude<PluginKind, 'callback' | 'logger' | 'schedule'>, readonly string[]>> = {
  strategy: ['attach'],
  model: ['load'],
  'data-source': ['conversations'],
  'data-transform': ['transform'],
  metric: ['compute'],
  optimizer: ['apply', 'saveState', 'loadState', 'dispose'],
};

function validateInstance(kind: PluginKind, instance: unknown, plugin: string): void {
  if (kind === 'callback' || kind === 'logger') {
    validateCallback(instance, plugin);
    return;
  }
  const needed = kind === 'schedule' ? [] : members[kind];
  const whole =
    kind === 'schedule'
      ? typeof instance === 'function'
      : typeof instance === 'object' &&
        instance !== null &&
        needed.every((name) => typeof (instance as Record<string, unknown>)[name] === 'function');
  if (!whole) {
    throw new WhetstoneError('PLUGIN_INVALID', `What ${kind} '${plugin}' created cannot be used.`, {
      expected: kind === 'schedule' ? 'a function of the number of steps' : `an object with ${needed.join(', ')}`,
      found: instance === null ? 'null' : typeof instance,
      details: { plugin, kind },
    });
  }
}

interface Watched {
  readonly plugin: string;
  readonly path: Path;
  readonly tracked: TrackedOptions;
  readonly schema: unknown;
}

/** Creates plugins and remembers which of their options they read. */
export interface PluginMaker {
  /** @param path where its options stand in the configuration */
  create<K extends PluginKind>(
    kind: K,
    plugin: Plugin,
    options: Readonly<Record<string, Json>>,
    path: Path,
  ): Promise<PluginInstances[K]>;
  /**
   * Throws `CONFIG_UNUSED_KEY` with every key that the user wrote and that its plugin left unread. Plugins that read
   * nothing yet are left for later.
   */
  checkUnusedKeys(): void;
  /** What was still unread at the end, for a warning. */
  unusedAtEnd(): readonly string[];
}

/** @param wasWritten whether the user wrote a key, rather than a default */
export function createPluginMaker(context: PluginContext, wasWritten: (path: Path) => boolean): PluginMaker {
  const watched: Watched[] = [];

  const unusedOf = ({ tracked, path, schema, plugin }: Watched): readonly Problem[] =>
    tracked.unread().flatMap((own) => {
      const full = [...path, ...own];
      const value = JSON.stringify(valueAt(tracked.options, own));
      const byDefault = JSON.stringify(defaultOf(schema, own));
      return !wasWritten(full) || value === byDefault
        ? []
        : [
            {
              message: `'${plugin}' never read ${formatPath(full)}.`,
              place: { path: formatPath(full) },
              found: value,
              hint: 'Leave the key out. (If you wrote the plugin: read all options in create.)',
            },
          ];
    });

  return {
    create: async (kind, plugin, options, path) => {
      const tracked = trackReads(options, plugin.configSchema);
      watched.push({ plugin: plugin.name, path, tracked, schema: plugin.configSchema });
      try {
        const instance = await plugin.create(tracked.options as never, context);
        validateInstance(kind, instance, plugin.name);
        return instance as PluginInstances[typeof kind];
      } catch (cause) {
        if (isWhetstoneError(cause)) throw cause;
        throw new WhetstoneError(
          'PLUGIN_FAILED',
          `${kind} '${plugin.name}' could not be created: ${messageOf(cause)}`,
          { place: { path: formatPath(path) }, details: { plugin: plugin.name, kind }, cause },
        );
      }
    },
    checkUnusedKeys: () => {
      // A plugin that read nothing at all keeps its options for later: it is looked at again when the run ends.
      const problems = watched.filter(({ tracked }) => tracked.touched()).flatMap(unusedOf);
      const [first, ...rest] = problems;
      if (first !== undefined)
        throw new WhetstoneError('CONFIG_UNUSED_KEY', first.message, { ...first, problems: rest });
    },
    unusedAtEnd: () => watched.flatMap(unusedOf).map((problem) => problem.message),
  };
}

function defaultOf(schema: unknown, path: Path): unknown {
  const own = valueAt(
    schema,
    path.flatMap((key) => ['properties', key]),
  );
  return isObject(own) ? own['default'] : undefined;
}
