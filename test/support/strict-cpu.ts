import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import {
  getKernelsForBackend,
  registerKernel,
  unregisterKernel,
  type DataType,
  type KernelConfig,
  type NamedTensorInfoMap,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { expect } from 'vitest';

// Tests import this module in place of `@tensorflow/tfjs-backend-cpu` (vitest.config.ts). It is that backend, but it
// refuses the types that TensorFlow's kernels refuse: what a test computes on `cpu` also runs on tfjs-node. The tests
// of packages/backend compare Whetstone's kernels with those of tfjs, for all types.

interface InputRule {
  /** Inputs with the same attribute have the same type. */
  readonly attribute?: string;
  readonly types: readonly DataType[];
}

interface KernelRule {
  /** Rules by the name of the input; `*` for all inputs of a list. */
  readonly inputs: Readonly<Record<string, InputRule>>;
}

const { kernels } = JSON.parse(
  readFileSync(new URL('../golden/tensorflow-dtypes/kernels.json', import.meta.url), 'utf8'),
) as { readonly kernels: Readonly<Record<string, KernelRule>> };

/**
 * Checks the types of a kernel's inputs.
 *
 * @throws `Error` if tfjs-node has no such kernel, or TensorFlow has none for the types
 */
function checkTypes(kernel: string, inputs: NamedTensorInfoMap): void {
  const rule = kernels[kernel];
  if (rule === undefined) throw new Error(`@tensorflow/tfjs-node has no kernel ${kernel}.`);
  const typeOfAttribute = new Map<string, DataType>();
  for (const [name, given] of Object.entries(inputs)) {
    const input = rule.inputs[name] ?? rule.inputs['*'];
    for (const info of [given].flat() as readonly (TensorInfo | null | undefined)[]) {
      if (input === undefined || info === null || info === undefined) continue;
      if (!input.types.includes(info.dtype))
        throw new Error(`TensorFlow's ${kernel} accepts ${input.types.join(', ')} as '${name}', not ${info.dtype}.`);
      if (input.attribute === undefined) continue;
      const same = typeOfAttribute.get(input.attribute) ?? info.dtype;
      typeOfAttribute.set(input.attribute, same);
      if (info.dtype !== same)
        throw new Error(`TensorFlow's ${kernel} needs inputs of one type, not ${same} and ${info.dtype} ('${name}').`);
    }
  }
}

const comparesBackends = /[\\/]packages[\\/]backend[\\/]/.test(expect.getState().testPath ?? '');

const strict = (config: KernelConfig): KernelConfig => ({
  ...config,
  kernelFunc(call) {
    checkTypes(config.kernelName, call.inputs);
    return config.kernelFunc(call);
  },
});

createRequire(import.meta.url)('@tensorflow/tfjs-backend-cpu');
for (const config of comparesBackends ? [] : getKernelsForBackend('cpu')) {
  unregisterKernel(config.kernelName, 'cpu');
  registerKernel(strict(config));
}
