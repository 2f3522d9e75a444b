import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError } from '../contract/errors.js';
import { openSafetensors, writeSafetensors, type SafetensorsDtype, type TensorToWrite } from '../safetensors/index.js';

const dtypes: Readonly<Record<string, SafetensorsDtype>> = { float32: 'F32', int32: 'I32', bool: 'BOOL' };

/**
 * Returns tensors in the form that `writeSafetensors` accepts. Float32 tensors get the dtype `floats`. Each tensor is
 * read from the device only when it is written.
 */
export function tensorsToWrite(
  tensors: ReadonlyMap<string, Tensor>,
  floats: 'float32' | 'bfloat16' = 'float32',
): TensorToWrite[] {
  return Array.from(tensors, ([name, value]) => tensorToWrite(name, value, floats));
}

function tensorToWrite(name: string, value: Tensor, floats: 'float32' | 'bfloat16'): TensorToWrite {
  const dtype = value.dtype === 'float32' && floats === 'bfloat16' ? 'BF16' : dtypes[value.dtype];
  if (dtype === undefined)
    throw new WhetstoneError('INTERNAL', `Tensors of dtype ${value.dtype} cannot be saved.`, {
      place: { tensor: name },
    });
  return { name, dtype, shape: value.shape, data: () => value.data() };
}

/**
 * Writes tensors to a safetensors file. Only one tensor at a time is in host memory.
 *
 * @param check is called with the values of each tensor before they are written; it throws if they are invalid
 */
export function saveTensors(
  file: string,
  tensors: ReadonlyMap<string, Tensor>,
  check: (name: string, values: ArrayLike<number>) => void = () => {},
): Promise<void> {
  const checked = Array.from(tensors, ([name, value]) => ({
    ...tensorToWrite(name, value, 'float32'),
    data: async () => {
      const values = await value.data();
      check(name, values);
      return values;
    },
  }));
  return writeSafetensors(file, checked);
}

/** Reads all tensors of a file that {@link saveTensors} wrote. The caller owns them. */
export async function loadTensors(file: string): Promise<Map<string, Tensor>> {
  const reader = await openSafetensors(file);
  const tensors = new Map<string, Tensor>();
  try {
    for (const { name, dtype, shape } of reader.tensors.values()) {
      if (dtype === 'F32') tensors.set(name, tensor(await reader.readFloat32(name), [...shape], 'float32'));
      else
        tensors.set(
          name,
          tensor((await reader.read(name)) as Int32Array | Uint8Array, [...shape], dtype === 'I32' ? 'int32' : 'bool'),
        );
    }
    return tensors;
  } finally {
    await reader.close();
  }
}
