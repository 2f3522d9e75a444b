import { WhetstoneError, type LanguageModel, type Plugin, type AdapterFiles } from '@whetstone/core/contract';
import { prepareAdapter, type LoadedAdapter } from './load-adapter.js';

/** Several adapters of one model by name, of which at most one is active. */
export interface AdapterSet {
  readonly names: readonly string[];
  /** Name of the active adapter; null if only the base computes. */
  readonly active: string | null;
  /**
   * Loads an adapter without activating it. The tensors of the files may be disposed afterwards. Until the promise is
   * settled, no adapter is active and `use` fails.
   *
   * @throws `ADAPTER_INVALID` if the adapter does not match the model
   * @throws `USAGE` if the name is already in use
   */
  add(name: string, files: AdapterFiles): Promise<void>;
  /**
   * Activates an adapter instead of the current one, or none if null. Nothing is read from disk.
   *
   * @throws `USAGE` if the set does not contain the adapter, or if one is being added
   */
  use(name: string | null): void;
  /** Removes an adapter and releases its tensors. @throws `USAGE` if the set does not contain the adapter */
  remove(name: string): void;
  dispose(): void;
}

/**
 * Creates an empty set for a model. All adapters share the base; each needs memory only for its own tensors.
 *
 * @param plugins plugins of strategies in addition to the built-in ones
 */
export function createAdapterSet(model: LanguageModel, plugins: readonly Plugin[] = []): AdapterSet {
  const adapters = new Map<string, LoadedAdapter>();
  let active: string | null = null;
  let isAdding = false;
  const get = (name: string): LoadedAdapter => {
    const adapter = adapters.get(name);
    if (adapter === undefined)
      throw new WhetstoneError('USAGE', 'The set does not contain the adapter.', {
        expected: [...adapters.keys()].join(', ') || 'none was added',
        found: name,
      });
    return adapter;
  };
  const use = (name: string | null): void => {
    if (isAdding)
      throw new WhetstoneError('USAGE', 'An adapter is being added to the set.', {
        hint: 'Await the promise of `add` first.',
      });
    const next = name === null ? null : get(name);
    if (active !== null) get(active).setActive(false);
    next?.setActive(true);
    active = name;
  };
  return {
    get names() {
      return [...adapters.keys()];
    },
    get active() {
      return active;
    },
    add: async (name, files) => {
      if (adapters.has(name))
        throw new WhetstoneError('USAGE', 'The name of the adapter is already in use.', { found: name });
      const before = active;
      // Some adapters are computed from the weights of the base, so that none may be active.
      use(null);
      isAdding = true;
      try {
        adapters.set(name, await prepareAdapter(model, files, plugins));
      } finally {
        isAdding = false;
        use(before);
      }
    },
    use,
    remove: (name) => {
      const adapter = get(name);
      if (active === name) use(null);
      adapter.dispose();
      adapters.delete(name);
    },
    dispose: () => {
      use(null);
      for (const adapter of adapters.values()) adapter.dispose();
      adapters.clear();
    },
  };
}
