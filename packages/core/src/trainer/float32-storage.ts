import type { LanguageModel } from '../contract/model.js';
import { storageOf } from '../ops/storage.js';

/**
 * Returns a warning if quantised weights take 4 bytes per number because the backend does not support packed storage;
 * null otherwise.
 */
export function float32StorageWarning(
  { quantised, parameters }: Pick<LanguageModel, 'quantised' | 'parameters'>,
  backend: string,
): string | null {
  const unpacked = [...(quantised ?? [])].filter((name) => {
    const parameter = parameters.get(name);
    return parameter !== undefined && storageOf(parameter).format === 'float32';
  });
  if (unpacked.length === 0) return null;
  return (
    `The backend ${backend} does not support packed weights: ${unpacked.length} quantised weights (the first is ` +
    `${unpacked[0]}) take 4 bytes per number. Their values are the quantised ones. The backends whetstone, ` +
    'wasm and cpu support packed weights.'
  );
}
