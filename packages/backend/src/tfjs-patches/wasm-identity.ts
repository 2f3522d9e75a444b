import {
  getKernel,
  registerKernel,
  unregisterKernel,
  type KernelBackend,
  type TensorInfo,
} from '@tensorflow/tfjs-core';

let isPatched = false;

/**
 * Makes clones on tfjs's WebAssembly backend share the data of their tensor, as on tfjs's other backends. Its own
 * Identity kernel copies: each product would copy the weight that it saves for the backward pass.
 */
export function shareWasmClones(): void {
  const original = getKernel('Identity', 'wasm');
  if (isPatched || original === undefined) return;
  isPatched = true;
  unregisterKernel('Identity', 'wasm');
  registerKernel({
    ...original,
    kernelFunc: (call) => {
      const { dataId, shape, dtype } = call.inputs['x'] as TensorInfo;
      if (dtype === 'string') return original.kernelFunc(call);
      (call.backend as KernelBackend).incRef(dataId);
      return { dataId, shape, dtype };
    },
  });
}
