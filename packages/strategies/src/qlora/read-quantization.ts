import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { readJsonObject } from '@whetstone/core/files';
import type { QuantizationOptions } from './options.js';
import { quantizationFile, quantizationOf } from './quantization.js';

/**
 * Reads from an adapter's folder how its base was quantised in training; null if it was not quantised.
 *
 * @throws `ADAPTER_INVALID` if the file is invalid or the quantisation is not supported
 */
export async function readQuantization(adapterFolder: string): Promise<QuantizationOptions | null> {
  const file = join(adapterFolder, quantizationFile);
  const absent = new WhetstoneError('ADAPTER_INVALID', 'The base was not quantised.', { place: { file } });
  try {
    const config = await readJsonObject(file, {
      missing: () => absent,
      invalid: (message, cause) =>
        new WhetstoneError('ADAPTER_INVALID', `${quantizationFile} ${message}`, { place: { file }, cause }),
    });
    return quantizationOf(config, file);
  } catch (error) {
    if (error === absent) return null;
    throw error;
  }
}
