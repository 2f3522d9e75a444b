import { tensor, variable, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { WeightRole, WeightStorage } from '@whetstone/core/contract';
import { storePacked } from '@whetstone/core/ops';
import { storeFrom } from '@whetstone/core/ops/internal';
import { embeddingName, HEAD_NAME, linearShapes, type ParameterShape } from './architectures/parameters.js';
import type { DecoderShape } from './architectures/shape.js';
import { narrow, type TensorReader } from './safetensors/index.js';

/** What each parameter of a model is to whoever decides how it is kept. */
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
 * One parameter from its file. Bytes are read by range to where they stay: no second copy of a tensor is made where the
 * backend's memory can be reached, and bfloat16 stays bfloat16 where that is asked for. A parameter that is packed
 * passes through the host's memory alone.
 */
export async function loadParameter(
  reader: TensorReader,
  stored: string,
  role: WeightRole,
  storage: WeightStorage,
): Promise<Variable> {
  const initial = await read(reader, stored, role.shape, storage(role));
  // tfjs-core clones what a variable starts with: it shares the memory.
  const parameter = variable(initial, false);
  initial.dispose();
  return parameter;
}

async function read(
  reader: TensorReader,
  stored: string,
  shape: readonly number[],
  wanted: ReturnType<WeightStorage>,
): Promise<Tensor> {
  if (typeof wanted === 'function') {
    const kept = wanted(await reader.readFloat32(stored));
    return kept instanceof Float32Array ? tensor(kept, [...shape], 'float32') : storePacked(kept);
  }
  const isBfloat16 = reader.tensors.get(stored)?.dtype === 'BF16';
  // Vectors cost nothing as float32, and would be widened at every use.
  if (wanted === null || shape.length < 2 || (wanted === 'stored' && !isBfloat16)) {
    return storeFrom(shape, 'float32', (bytes) =>
      reader.readFloat32Into(stored, new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)),
    );
  }
  if (isBfloat16) return storeFrom(shape, 'bfloat16', (bytes) => reader.readBytesInto(stored, bytes));
  return storeFrom(shape, 'bfloat16', async (bytes) => bytes.set(narrow(await reader.readFloat32(stored), 'BF16')));
}
