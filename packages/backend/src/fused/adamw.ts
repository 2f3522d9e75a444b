import type { Spec } from '../recorder/types.js';
import type { Kernel } from '../kernels/kernel.js';

/**
 * One AdamW update of one parameter, recorded as one operation instead of fourteen: `adamwUpdate` of `@whetstone/core/ops` says what it
 * computes. Gives the new parameter, first and second moment.
 */
export const adamw: Kernel = {
  name: 'WhetstoneAdamW',
  inputs: ['parameter', 'gradient', 'firstMoment', 'secondMoment', 'stepSize', 'decay', 'correction'],
  list: true,
  replaces: [[0], [2], [3]],
  rule: ([parameter], { beta1, beta2, epsilon }) => {
    const { shape } = parameter as Spec;
    const output = { shape, dtype: 'float32' as const };
    return { outputs: [output, output, output], parameters: [beta1 as number, beta2 as number, epsilon as number] };
  },
  tensorflow: (emit, [parameter, gradient, first, second, stepSize, decay, correction], _, [beta1, beta2, epsilon]) => {
    const number = (value: number) => emit.constant('float32', [], [value]);
    const multiply = (a: typeof parameter, b: typeof parameter) => emit.op('Mul', [a!, b!]);
    const add = (a: typeof parameter, b: typeof parameter) => emit.op('AddV2', [a!, b!]);
    const newFirst = add(first, multiply(emit.op('Sub', [gradient!, first!]), number(1 - Number(beta1))));
    const newSecond = add(multiply(second, number(Number(beta2))), multiply(emit.op('Square', [gradient!]), number(1 - Number(beta2))));
    const denominator = add(multiply(emit.op('Sqrt', [newSecond]), correction), number(Number(epsilon)));
    const step = multiply(emit.op('RealDiv', [newFirst, denominator]), stepSize);
    return [emit.op('Sub', [multiply(parameter, decay), step]), newFirst, newSecond];
  },
};
