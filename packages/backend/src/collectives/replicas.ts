import { engine as tfjs, type NamedTensorMap, type Tensor } from '@tensorflow/tfjs-core';
import type { TensorReplicas } from '@whetstone/core/contract';
import { WhetstoneError } from '@whetstone/core/contract';
import type { Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';
import type { WhetstoneBackend } from '../recorder/backend.js';

const SUM_OVER_DEVICES = 'WhetstoneSumOverDevices';

/** The sum of one tensor from each device, on all of them. On one device it is an ordinary sum. */
export const sumOverDevices: Kernel = {
  name: SUM_OVER_DEVICES,
  inputs: 'list',
  rule: (inputs) => ({ outputs: [inputs[0] as TensorSpec] }),
  tensorflow: (emit, inputs) => emit.op('AddN', [inputs]),
  stablehlo: (b, inputs) => b.allReduce(inputs) ?? b.op('AddN', [inputs]),
};

/** Returns the devices of a backend's engine. */
export function createReplicas(backend: WhetstoneBackend): TensorReplicas {
  const { engine } = backend;
  const count = engine.devices ?? 1;
  return {
    count,
    use(device) {
      backend.barrier();
      if (device !== 'all' && (device < 0 || device >= count))
        throw new WhetstoneError('INTERNAL', `Device ${device} not found.`, {
          expected: `0 to ${count - 1}`,
          found: String(device),
        });
      engine.useDevice?.(device);
    },
    sum(tensors) {
      const inputs: NamedTensorMap = Object.fromEntries(tensors.map((tensor, index) => [String(index), tensor]));
      return tfjs().runKernel<Tensor>(SUM_OVER_DEVICES, inputs);
    },
  };
}
