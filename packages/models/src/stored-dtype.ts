import { openWeights, type WeightDtype } from '@whetstone/core/safetensors';
import { sizeOfShape } from '@whetstone/core/util';

/**
 * Returns the data type in which a model folder stores most of its weights. Types that a model is never saved in count
 * as F32. Only the headers of the files are read.
 *
 * @throws `MODEL_NOT_FOUND` and the errors of a damaged file
 */
export async function storedDtype(folder: string): Promise<WeightDtype> {
  const reader = await openWeights(folder);
  try {
    const elements: Record<WeightDtype, number> = { F32: 0, BF16: 0, F16: 0 };
    for (const { dtype, shape } of reader.tensors.values())
      elements[dtype === 'BF16' || dtype === 'F16' ? dtype : 'F32'] += sizeOfShape(shape);
    const byCount = (['F32', 'BF16', 'F16'] as const).toSorted((one, other) => elements[other] - elements[one]);
    return byCount[0] ?? 'F32';
  } finally {
    await reader.close();
  }
}
