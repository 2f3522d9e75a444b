import '@tensorflow/tfjs-backend-cpu';
import { engine } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { Value } from '../recorder/value.js';
import { storeTensorInfoInValues } from './tensor-info.js';

it('stores the records of Whetstone values in the values, and other records in the old table', () => {
  storeTensorInfoInValues();
  const { tensorInfo } = engine().state;
  storeTensorInfoInValues();
  expect(engine().state.tensorInfo, 'patched once').toBe(tensorInfo);
  const [value, other] = [new Value([2], 'float32'), {}];
  for (const data of [value, other]) {
    const entry = { backend: engine().backend, dtype: 'float32' as const, shape: [2], bytes: 8 };
    expect(tensorInfo.has(data)).toBe(false);
    tensorInfo.set(data, entry);
    expect([tensorInfo.has(data), tensorInfo.get(data) === entry, value.tensorInfo === entry]).toEqual([
      true,
      true,
      data === value,
    ]);
    expect([tensorInfo.delete(data), tensorInfo.has(data), tensorInfo.delete(data)]).toEqual([true, false, false]);
  }
});
