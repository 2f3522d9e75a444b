import { clone, keep } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, Plugin, PreparedAdapter } from '@whetstone/core/contract';
import { peftTypeOf } from './adapter-files.js';
import { adapterWarnings, emitWarning, type ReadOptions } from './base-model.js';
import { formatOf } from './formats.js';
import { callFormat, validateDetach, validatePrepared } from './validate-format.js';

/** An adapter that is loaded on a model. Several may be loaded on one base, but only one may be active at a time. */
export interface LoadedAdapter {
  /** The `peft_type` of the adapter. */
  readonly peftType: string;
  readonly isActive: boolean;
  /** Attaches the adapter to the model or detaches it. Nothing is read from disk. */
  setActive(active: boolean): void;
  /** Detaches the adapter and disposes its tensors. */
  dispose(): void;
}

/**
 * Loads an adapter on a model and activates it: LoRA and its variants, prefix tuning, prompt tuning, IA3, and the types
 * of further strategies. The tensors of the files may be disposed afterwards.
 *
 * @param plugins plugins of strategies in addition to the built-in ones
 * @param options.warn receives the warnings about the adapter, for example that it was trained on another model; by
 *   default the process emits them
 * @throws `ADAPTER_INVALID` if no strategy reads the type of the adapter, or if it does not match the model; lists all
 *   problems
 */
export async function loadAdapter(
  model: LanguageModel,
  files: AdapterFiles,
  plugins: readonly Plugin[] = [],
  options: ReadOptions = {},
): Promise<LoadedAdapter> {
  const loaded = await prepareAdapter(model, files, plugins, options);
  try {
    loaded.setActive(true);
  } catch (error) {
    loaded.dispose();
    throw error;
  }
  return loaded;
}

/** Loads an adapter like {@link loadAdapter}, without activating it. */
export async function prepareAdapter(
  model: LanguageModel,
  files: AdapterFiles,
  plugins: readonly Plugin[],
  { warn = emitWarning }: ReadOptions = {},
): Promise<LoadedAdapter> {
  const format = formatOf(files, plugins);
  const peftType = peftTypeOf(files) ?? '';
  const tensors = new Map([...files.tensors].map(([name, tensor]) => [name, keep(clone(tensor))] as const));
  const disposeTensors = (): void => {
    for (const tensor of tensors.values()) tensor.dispose();
  };
  let prepared: PreparedAdapter;
  try {
    const loaded = await callFormat(peftType, 'adapter.load', () => format.load(model, { ...files, tensors }));
    prepared = validatePrepared(loaded, peftType);
    for (const warning of await adapterWarnings(model, files)) warn(warning);
  } catch (error) {
    disposeTensors();
    throw error;
  }
  let detach: (() => void) | null = null;
  const setActive = (active: boolean): void => {
    if (active === (detach !== null)) return;
    detach?.();
    detach = active ? validateDetach(prepared.attach(), peftType) : null;
  };
  return {
    peftType,
    get isActive() {
      return detach !== null;
    },
    setActive,
    dispose: () => {
      setActive(false);
      prepared.dispose();
      disposeTensors();
    },
  };
}
