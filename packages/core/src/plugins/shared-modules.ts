/**
 * Modules that local plugin files import from the running program instead of from their own `node_modules`, so that
 * each module is loaded once. A value is the module itself, or the result of {@link later}.
 */
export type SharedModules = Readonly<Record<string, unknown>>;

const deferred = Symbol('deferred module');

interface Deferred {
  readonly [deferred]: () => Promise<unknown>;
}

/** Returns a shared module that is imported only when a local plugin file is loaded. */
export function later(load: () => Promise<unknown>): unknown {
  return { [deferred]: load };
}

const isDeferred = (module: unknown): module is Deferred =>
  typeof module === 'object' && module !== null && deferred in module;

/** Imports the deferred modules and returns all modules by name. */
export async function importShared(modules: SharedModules): Promise<Record<string, unknown>> {
  return Object.fromEntries(
    await Promise.all(
      Object.entries(modules).map(
        async ([name, module]) => [name, isDeferred(module) ? await module[deferred]() : module] as const,
      ),
    ),
  );
}
