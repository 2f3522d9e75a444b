import { cast, keep, stack, tidy, type Scalar } from '@tensorflow/tfjs-core';

/**
 * The numbers that strategies and callbacks record during a step. If a name is recorded several times, the mean is
 * reported.
 */
export interface StepMetrics {
  record(name: string, value: number | Scalar): void;
  /** Reads these scalars and all recorded ones in one transfer. Returns the former. The caller still owns them. */
  readWith(scalars: readonly Scalar[]): Promise<Float32Array>;
  /** Reads and disposes the recorded scalars in one transfer. Returns the means by name. */
  read(): Promise<Record<string, number>>;
  dispose(): void;
}

export function createStepMetrics(): StepMetrics {
  const numbers: [string, number][] = [];
  const tensors: [string, Scalar][] = [];
  const dispose = (): void => {
    for (const [, tensor] of tensors) tensor.dispose();
    tensors.length = 0;
  };
  const readWith = async (scalars: readonly Scalar[]): Promise<Float32Array> => {
    const recorded = tensors.length;
    const values = await readScalars([...scalars, ...tensors.map(([, tensor]) => tensor)]);
    tensors.splice(0, recorded).forEach(([name, tensor], index) => {
      numbers.push([name, values[scalars.length + index] ?? NaN]);
      tensor.dispose();
    });
    return values.subarray(0, scalars.length);
  };
  return {
    readWith,
    record(name, value) {
      if (typeof value === 'number') numbers.push([name, value]);
      else tensors.push([name, keep(value.clone())]);
    },
    async read() {
      await readWith([]);
      return means(numbers);
    },
    dispose,
  };
}

/** Reads scalars from the device in one transfer, without blocking the event loop. The caller still owns them. */
async function readScalars(scalars: readonly Scalar[]): Promise<Float32Array> {
  if (scalars.length === 0) return new Float32Array(0);
  const stacked = tidy(() => stack(scalars.map((tensor) => cast(tensor, 'float32'))));
  try {
    return (await stacked.data()) as Float32Array;
  } finally {
    stacked.dispose();
  }
}

function means(records: readonly (readonly [string, number])[]): Record<string, number> {
  const groups = new Map<string, number[]>();
  for (const [name, value] of records) groups.set(name, [...(groups.get(name) ?? []), value]);
  return Object.fromEntries(
    [...groups].map(([name, values]) => [name, values.reduce((total, value) => total + value, 0) / values.length]),
  );
}
