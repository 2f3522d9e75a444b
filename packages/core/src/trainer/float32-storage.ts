import type { LanguageModel } from '../contract/model.js';
import { storageOf } from '../ops/storage.js';

/**
 * What to say where quantised weights take as many bytes as any others, because the backend keeps nothing packed; null
 * where all is as it was asked for.
 */
export function float32StorageWarning(
  { quantised, parameters }: Pick<LanguageModel, 'quantised' | 'parameters'>,
  backend: string,
): string | null {
  const whole = [...(quantised ?? [])].filter((name) => {
    const parameter = parameters.get(name);
    return parameter !== undefined && storageOf(parameter).format === 'float32';
  });
  if (whole.length === 0) return null;
  return (
    `The backend ${backend} keeps no packed weights: ${whole.length} quantised weights (${whole[0]} is the ` +
    'first) take 4 bytes a number. Their numbers are the quantised ones all the same; the backends whetstone, ' +
    'wasm and cpu keep them packed.'
  );
}
