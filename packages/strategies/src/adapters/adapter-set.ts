import { WhetstoneError, type LanguageModel } from '@whetstone/core/contract';
import type { AdapterFiles } from './adapter-files.js';
import { loadAdapter, type LoadedAdapter } from './load-adapter.js';

/** Several adapters of one model by name, one of them at work at a time. */
export interface AdapterSet {
  readonly names: readonly string[];
  /** The adapter at work; null: the base alone. */
  readonly active: string | null;
  /**
   * Loads an adapter beside the others; it is not at work yet. The files' tensors may be disposed afterwards. @throws
   * ADAPTER_INVALID
   */
  add(name: string, files: AdapterFiles): void;
  /**
   * Puts one adapter in the place of the present one, or takes it off; nothing is read. @throws USAGE for a name that
   * is not there.
   */
  use(name: string | null): void;
  remove(name: string): void;
  dispose(): void;
}

/** An empty set on a model. The base stays one: only the adapters' own tensors are held for each. */
export function createAdapterSet(model: LanguageModel): AdapterSet {
  const adapters = new Map<string, LoadedAdapter>();
  let active: string | null = null;
  const get = (name: string): LoadedAdapter => {
    const adapter = adapters.get(name);
    if (adapter === undefined)
      throw new WhetstoneError('USAGE', 'There is no adapter of this name.', {
        expected: [...adapters.keys()].join(', ') || 'none was added',
        found: name,
      });
    return adapter;
  };
  const use = (name: string | null): void => {
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
    add: (name, files) => {
      if (adapters.has(name))
        throw new WhetstoneError('USAGE', 'There is an adapter of this name already.', { found: name });
      const before = active;
      use(null);
      try {
        const adapter = loadAdapter(model, files);
        adapter.setActive(false);
        adapters.set(name, adapter);
      } finally {
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
