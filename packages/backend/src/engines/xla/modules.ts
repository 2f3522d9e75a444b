import { join } from 'node:path';
import { isWhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from '../../install/cache-folder.js';
import type { CompileChoice } from './compile-options.js';
import type { LoadedExecutable, XlaClient } from './client.js';
import { openModuleCache } from './module-cache.js';
import type { LoweredModule } from './stablehlo/lower.js';

/** Work below which a module runs in milliseconds, whether optimized or not. */
const MIN_OPTIMIZED_WORK = 3_000_000;

export interface ModuleCounters {
  /** Modules that this process compiled. */
  compiled: number;
  /** Modules that were loaded from disk. */
  fromDisk: number;
}

export interface ModuleLoader {
  readonly counters: ModuleCounters;
  /**
   * Loads a module from disk, or compiles it.
   *
   * @param subject begins the message of an error
   */
  load(module: LoweredModule, subject: string): LoadedExecutable;
  /** Like `load`, without blocking the event loop. */
  loadLater(module: LoweredModule, subject: string): Promise<LoadedExecutable>;
}

/**
 * Creates a loader of modules.
 *
 * @param folder stores compiled modules; by default one in the cache. Null stores none.
 */
export function createModuleLoader(
  client: XlaClient,
  folder: string | null | undefined,
  devices: number,
): ModuleLoader {
  const chosen = folder === undefined ? join(cacheFolder(), 'xla-modules') : folder;
  const { pjrt } = client;
  const cache =
    chosen === null
      ? null
      : openModuleCache(chosen, {
          path: pjrt.path,
          version: `${pjrt.version} ${client.platformVersion}`,
          device: `${client.deviceKind} × ${client.deviceCount}`,
        });
  const counters: ModuleCounters = { compiled: 0, fromDisk: 0 };

  const compileChoice = ({ work, replicas }: LoweredModule): CompileChoice => ({
    unoptimized: client.platform === 'cpu' && work < MIN_OPTIMIZED_WORK,
    replicas,
    portable: devices > 1 && replicas === 1,
  });
  const keyOf = (module: LoweredModule): string | undefined =>
    cache?.keyOf(`${JSON.stringify(compileChoice(module))}\n${module.text}`);
  const countLoaded = (loaded: LoadedExecutable): LoadedExecutable => {
    counters.fromDisk++;
    return loaded;
  };
  const saveCompiled = (loaded: LoadedExecutable, key: string | undefined): LoadedExecutable => {
    counters.compiled++;
    if (key === undefined) return loaded;
    try {
      cache?.save(key, client.serialize(loaded));
    } catch (error) {
      // A plugin that cannot serialize modules compiles them in each process.
      if (!isWhetstoneError(error)) throw error;
    }
    return loaded;
  };

  return {
    counters,
    load(module, subject) {
      const key = keyOf(module);
      const bytes = key === undefined ? undefined : cache?.load(key);
      if (key !== undefined && bytes) {
        try {
          return countLoaded(client.deserialize(bytes));
        } catch {
          cache?.forget(key);
        }
      }
      return saveCompiled(client.compile(module.text, subject, compileChoice(module)), key);
    },
    async loadLater(module, subject) {
      const key = keyOf(module);
      const bytes = key === undefined ? undefined : cache?.load(key);
      if (key !== undefined && bytes) {
        try {
          return countLoaded(await client.deserializeLater(bytes));
        } catch {
          cache?.forget(key);
        }
      }
      return saveCompiled(await client.compileLater(module.text, subject, compileChoice(module)), key);
    },
  };
}
