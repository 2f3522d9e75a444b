import '@tensorflow/tfjs-backend-cpu';
import { engine } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { keepInfoInValues } from './tensor-info.js';
import { Value } from './value.js';

it('keeps what tfjs-core knows of our values in them, and of other data where it was', () => {
  keepInfoInValues();
  const { tensorInfo } = engine().state;
  keepInfoInValues();
  expect(engine().state.tensorInfo, 'once is enough').toBe(tensorInfo);
  const [ours, other] = [new Value([2], 'float32'), {}];
  for (const data of [ours, other]) {
    const entry = { backend: engine().backend, dtype: 'float32' as const, shape: [2], bytes: 8 };
    expect(tensorInfo.has(data)).toBe(false);
    tensorInfo.set(data, entry);
    expect([tensorInfo.has(data), tensorInfo.get(data) === entry, ours.info === entry]).toEqual([
      true,
      true,
      data === ours,
    ]);
    expect([tensorInfo.delete(data), tensorInfo.has(data), tensorInfo.delete(data)]).toEqual([true, false, false]);
  }
});
