import { join } from 'node:path';
import { WhetstoneError } from '@whetstone/core/contract';
import { readJsonObject } from '@whetstone/core/files';
import { quantizationFile, quantizationOf, type QuantizationOptions } from './quantization.js';

/**
 * How the base of an adapter was quantised when it was trained, from its folder; null where it was not.
 *
 * @throws ADAPTER_INVALID where the file is none, or says what is not known here.
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
