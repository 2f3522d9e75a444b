import { join } from 'node:path';
import { isWhetstoneError } from '@whetstone/core/contract';
import { cacheFolder } from '../../install/cache-folder.js';
import type { CompileChoice } from './compile-options.js';
import type { LoadedExecutable, XlaClient } from './client.js';
import { openModuleCache } from './module-cache.js';
import type { LoweredModule } from './stablehlo/lower.js';

/** A module that computes fewer numbers than this runs in milliseconds however it is compiled. */
const LITTLE_WORK = 3_000_000;

/** How many modules were compiled here, and how many were found on disk. */
export interface ModuleCounters {
  compiled: number;
  fromDisk: number;
}

export interface ModuleLoader {
  readonly counters: ModuleCounters;
  /**
   * The module from disk where one is there that loads, else compiled. `subject` begins the message where that fails.
   */
  load(module: LoweredModule, subject: string): LoadedExecutable;
  /** The same without blocking the event loop. */
  loadLater(module: LoweredModule, subject: string): Promise<LoadedExecutable>;
}

/** Makes modules ready to run: from a folder of compiled ones (null for none), or by compiling. */
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

  const choiceFor = ({ work, replicas }: LoweredModule): CompileChoice => ({
    hastily: client.platform === 'cpu' && work < LITTLE_WORK,
    replicas,
    portable: devices > 1 && replicas === 1,
  });
  const keyOf = (module: LoweredModule): string | undefined =>
    cache?.keyOf(`${JSON.stringify(choiceFor(module))}\n${module.text}`);
  const found = (loaded: LoadedExecutable): LoadedExecutable => {
    counters.fromDisk++;
    return loaded;
  };
  const made = (loaded: LoadedExecutable, key: string | undefined): LoadedExecutable => {
    counters.compiled++;
    if (key === undefined) return loaded;
    try {
      cache?.save(key, client.serialize(loaded));
    } catch (error) {
      // A plugin that cannot serialise its modules compiles them in each process.
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
          return found(client.deserialize(bytes));
        } catch {
          cache?.forget(key);
        }
      }
      return made(client.compile(module.text, subject, choiceFor(module)), key);
    },
    async loadLater(module, subject) {
      const key = keyOf(module);
      const bytes = key === undefined ? undefined : cache?.load(key);
      if (key !== undefined && bytes) {
        try {
          return found(await client.deserializeLater(bytes));
        } catch {
          cache?.forget(key);
        }
      }
      return made(await client.compileLater(module.text, subject, choiceFor(module)), key);
    },
  };
}
