/**
 * Modules that a local file gets from the running program, whatever is installed beside it, so that there is one
 * instance of each: the module itself, or {@link later} for one that is imported when a file is loaded.
 */
export type SharedModules = Readonly<Record<string, unknown>>;

const deferred = Symbol('a module that is imported later');

interface Deferred {
  readonly [deferred]: () => Promise<unknown>;
}

/** A shared module that is imported only when a local file is loaded. */
export function later(load: () => Promise<unknown>): unknown {
  return { [deferred]: load };
}

const isDeferred = (module: unknown): module is Deferred =>
  typeof module === 'object' && module !== null && deferred in module;

/** Returns the modules by name, after importing the deferred ones. */
export async function importShared(modules: SharedModules): Promise<Record<string, unknown>> {
  return Object.fromEntries(
    await Promise.all(
      Object.entries(modules).map(
        async ([name, module]) => [name, isDeferred(module) ? await module[deferred]() : module] as const,
      ),
    ),
  );
}
