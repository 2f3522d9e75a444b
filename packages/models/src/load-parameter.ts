import { tensor, variable, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { WeightRole, WeightStorage } from '@whetstone/core/contract';
import { naming } from '@whetstone/core/memory';
import { storePacked } from '@whetstone/core/ops';
import { storeFrom } from '@whetstone/core/ops/internal';
import { embeddingName, HEAD_NAME, linearShapes, type ParameterShape } from './architectures/parameters.js';
import type { DecoderShape } from './architectures/shape.js';
import { narrow, type TensorReader } from '@whetstone/core/safetensors';

/** Returns a function that gives the role of a parameter, from which `WeightStorage` decides how to store it. */
export function roleOf(shape: DecoderShape): (parameter: ParameterShape) => WeightRole {
  const linear = new Set(linearShapes(shape).map(({ name }) => `${name}.weight`));
  const head = `${HEAD_NAME}.weight`;
  return ({ name, shape: sizes }) => ({
    name,
    shape: sizes,
    kind:
      name === head
        ? 'head'
        : linear.has(name)
          ? 'linear'
          : name === `${embeddingName(shape)}.weight`
            ? 'embedding'
            : 'other',
    fanInFanOut: shape.fanInFanOut && linear.has(name) && name !== head,
  });
}

/**
 * Reads one parameter from its file. If the backend exposes its memory, the bytes are read into it without another
 * copy. bfloat16 weights stay bfloat16 if `storage` says so. Weights to be packed are read into host memory first.
 */
export async function loadParameter(
  reader: TensorReader,
  stored: string,
  role: WeightRole,
  storage: WeightStorage,
): Promise<Variable> {
  const initial = await naming(
    () => `Loading ${stored} [${role.shape.join(', ')}]`,
    () => read(reader, stored, role.shape, storage(role)),
  );
  // The variable holds a clone that shares the memory.
  const parameter = variable(initial, false);
  initial.dispose();
  return parameter;
}

async function read(
  reader: TensorReader,
  stored: string,
  shape: readonly number[],
  format: ReturnType<WeightStorage>,
): Promise<Tensor> {
  if (typeof format === 'function') {
    const packed = format(await reader.readFloat32(stored));
    return packed instanceof Float32Array ? tensor(packed, [...shape], 'float32') : storePacked(packed);
  }
  const isBfloat16 = reader.tensors.get(stored)?.dtype === 'BF16';
  // Vectors are small, and bfloat16 vectors would be widened at every use.
  if (format === null || shape.length < 2 || (format === 'stored' && !isBfloat16)) {
    return storeFrom(shape, 'float32', (bytes) =>
      reader.readFloat32Into(stored, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)),
    );
  }
  if (isBfloat16) return storeFrom(shape, 'bfloat16', (bytes) => reader.readBytesInto(stored, bytes));
  return storeFrom(shape, 'bfloat16', async (bytes) => bytes.set(narrow(await reader.readFloat32(stored), 'BF16')));
}
