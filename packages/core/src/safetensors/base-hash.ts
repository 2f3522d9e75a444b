import { createHash } from 'node:crypto';
import { isWhetstoneError } from '../contract/errors.js';
import { openWeights } from './folder.js';
import type { TensorReader } from './read.js';
import { sizeOfShape } from '../util/index.js';

/** The number of values that are hashed. All norms and the smallest matrices of a model fit. */
const MAX_VALUES = 4 * 1024 * 1024;

/** Errors of a folder without weights that can be read as numbers: other models have none, and their own loaders. */
const UNKNOWN_WEIGHTS: readonly string[] = ['MODEL_NOT_FOUND', 'SAFETENSORS_INVALID'];

/**
 * Returns a SHA-256 by which a base model is recognised, in any folder and any lossless type: of the values of its
 * smallest tensors. Returns null if the folder has no
 * safetensors files of a type that is read as float32.
 *
 * @throws the errors of the file system
 */
export async function hashBase(folder: string | null): Promise<string | null> {
  if (folder === null) return null;
  let reader: TensorReader | null = null;
  try {
    reader = await openWeights(folder);
    return await hashSmallest(reader);
  } catch (error) {
    if (isWhetstoneError(error) && UNKNOWN_WEIGHTS.includes(error.code)) return null;
    throw error;
  } finally {
    await reader?.close();
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
