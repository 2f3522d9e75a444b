import { join } from 'node:path';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Json, type AdapterFiles } from '@whetstone/core/contract';
import { exists, readJsonObject, verifyResult } from '@whetstone/core/files';
import { openSafetensors, withOnePeftPrefix, withoutWrappers } from '@whetstone/core/safetensors';
import { emitWarning, type ReadOptions } from './base-model.js';
import { adapterFromMlx, isMlxConfig, mlxFiles } from './mlx.js';

/** The contents of an adapter folder; the caller disposes the tensors. */
export interface ReadAdapter extends AdapterFiles {
  dispose(): void;
}

/**
 * Reads an adapter folder in PEFT's format, `adapter_config.json` and `adapter_model.safetensors`, or in mlx-lm's,
 * which is converted. Also throws file errors. `warn` receives a notice about parts of tensor names that a wrapper of
 * the model added when it was saved.
 *
 * @throws `ADAPTER_INVALID` if adapter_config.json is missing or invalid, or if the tensors are pickled
 * @throws `FILE_CHANGED` if Whetstone wrote the folder and a file is missing or changed
 */
export async function readAdapterFolder(
  folder: string,
  { warn = emitWarning }: ReadOptions = {},
): Promise<ReadAdapter> {
  const config = await readAdapterConfig(folder);
  await verifyResult(folder);
  const isMlx = isMlxConfig(config);
  const file = join(folder, isMlx ? mlxFiles.tensors : 'adapter_model.safetensors');
  if (!exists(file) && exists(join(folder, PICKLED))) throw pickled(folder);
  const stored = await openSafetensors(file);
  const reader = isMlx ? stored : withOnePeftPrefix(withoutWrappers(stored, warn, 'adapter'), warn);
  const tensors = new Map<string, Tensor>();
  const dispose = (): void => {
    for (const one of tensors.values()) one.dispose();
  };
  try {
    for (const [name, { shape }] of reader.tensors)
      tensors.set(name, tensor(await reader.readFloat32(name), [...shape], 'float32'));
    if (!isMlx) return { config, tensors, folder, dispose };
    const adapter = adapterFromMlx({ config, tensors, folder });
    dispose();
    return { ...adapter, dispose: () => [...adapter.tensors.values()].forEach((one) => one.dispose()) };
  } catch (error) {
    dispose();
    throw error;
  } finally {
    await reader.close();
  }
}

/** The tensors as earlier versions of PEFT wrote them. */
const PICKLED = 'adapter_model.bin';

const pickled = (folder: string): WhetstoneError =>
  new WhetstoneError('ADAPTER_INVALID', 'The tensors of the adapter are pickled, which can run code when it is read.', {
    place: { file: join(folder, PICKLED) },
    expected: 'adapter_model.safetensors',
    found: PICKLED,
    hint: 'If you trust its author, load the adapter in PEFT and save it again: current versions write safetensors.',
  });

/** For plans: a notice is reported when the adapter is read for training. */
export const unreported: ReadOptions = { warn: () => undefined };

/** Reads an adapter folder, calls `work` and then disposes the tensors. */
export async function withAdapter<T>(
  folder: string,
  work: (files: AdapterFiles) => T | Promise<T>,
  options: ReadOptions = {},
): Promise<T> {
  const files = await readAdapterFolder(folder, options);
  try {
    return await work(files);
  } finally {
    files.dispose();
  }
}

/** Reads `adapter_config.json` of an adapter folder. Throws as {@link readAdapterFolder}. */
export async function readAdapterConfig(folder: string): Promise<Json> {
  const file = join(folder, 'adapter_config.json');
  return readJsonObject(file, {
    missing: (cause) =>
      new WhetstoneError('ADAPTER_INVALID', 'The folder does not contain an adapter: adapter_config.json is missing.', {
        place: { file: folder },
        hint: 'Use the path of the folder that contains adapter_config.json and adapter_model.safetensors.',
        cause,
      }),
    invalid: (message, cause) =>
      new WhetstoneError('ADAPTER_INVALID', `adapter_config.json ${message}`, { place: { file }, cause }),
  });
}
