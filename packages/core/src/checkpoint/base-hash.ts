import { createHash } from 'node:crypto';
import { openWeights, type TensorReader } from '../safetensors/index.js';
import { sizeOfShape } from '../util/index.js';

/** The number of values that are hashed. All norms and the smallest matrices of a model fit. */
const MAX_VALUES = 4 * 1024 * 1024;

/**
 * Returns a SHA-256 by which a base model is recognised, in any folder and any lossless type: of the values of its
 * smallest tensors. Returns null if the folder has no
 * safetensors files of a type that is read as float32.
 */
export async function hashBase(folder: string | null): Promise<string | null> {
  const reader = folder === null ? null : await openWeights(folder).catch(() => null);
  if (reader === null) return null;
  try {
    return await hashSmallest(reader);
  } catch {
    return null;
  } finally {
    await reader.close();
  }
}

async function hashSmallest(reader: TensorReader): Promise<string> {
  const bySize = [...reader.tensors]
    .map(([name, { shape }]) => ({ name, shape, size: sizeOfShape(shape) }))
    .toSorted((one, other) => one.size - other.size || (one.name < other.name ? -1 : 1));
  const hash = createHash('sha256');
  let values = 0;
  let matrices = 0;
  for (const { name, shape, size } of bySize) {
    // At least one matrix, because training often keeps norms as they are.
    if (values + size > MAX_VALUES && matrices > 0) break;
    hash.update(`${shape.join('x')} `);
    hash.update(await reader.readFloat32(name));
    values += size;
    if (shape.length > 1) matrices++;
  }
  return hash.digest('hex');
}
