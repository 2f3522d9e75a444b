import { tensor, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import { storageOf, storeBfloat16 } from '../ops/storage.js';

interface HostTensor {
  readonly shape: readonly number[];
  readonly dtype: 'float32' | 'int32' | 'bool';
  readonly values: Float32Array | Int32Array | Uint8Array;
}

/** Copies of tensors in host memory, by name. */
export type HostTensors = ReadonlyMap<string, HostTensor>;

/** Copies tensors to host memory. */
export async function copyToHost(tensors: ReadonlyMap<string, Tensor>): Promise<HostTensors> {
  const host = new Map<string, HostTensor>();
  for (const [name, each] of tensors)
    host.set(name, {
      shape: [...each.shape],
      dtype: each.dtype as HostTensor['dtype'],
      values: (await each.data()).slice() as HostTensor['values'],
    });
  return host;
}

/** Copies tensors to the device. The caller owns them. */
export function copyToDevice(host: HostTensors): Map<string, Tensor> {
  return new Map([...host].map(([name, each]) => [name, toDevice(each)]));
}

/** Calls `use` with copies of the tensors on the device, and disposes them afterwards. */
export function withTensors(host: HostTensors, use: (tensors: ReadonlyMap<string, Tensor>) => void): void {
  const tensors = copyToDevice(host);
  try {
    use(tensors);
  } finally {
    for (const each of tensors.values()) each.dispose();
  }
}

/** Assigns copied values to the variables of the same names. Variables without a copy keep their values. */
export function assignFromHost(variables: ReadonlyMap<string, Variable>, host: HostTensors): void {
  for (const [name, variable] of variables) {
    const copy = host.get(name);
    if (copy === undefined) continue;
    const value = toDevice(copy);
    assignStored(variable, value);
    value.dispose();
  }
}

/** Assigns a float32 value to a variable, rounded if the variable is stored as bfloat16. */
export function assignStored(variable: Variable, value: Tensor): void {
  if (storageOf(variable).format !== 'bfloat16') return variable.assign(value);
  const rounded = storeBfloat16(value);
  variable.assign(rounded);
  rounded.dispose();
}

const toDevice = ({ values, shape, dtype }: HostTensor): Tensor => tensor(values, [...shape], dtype);
