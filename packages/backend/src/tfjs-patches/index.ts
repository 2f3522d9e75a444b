import { env } from '@tensorflow/tfjs-core';
import { registerGradients } from './gradients.js';
import { submitAfterMinimize } from './optimizer-barrier.js';
import { storeTensorInfoInValues } from './tensor-info.js';

/** Applies every patch of tfjs-core that the backend needs. `docs/tfjs-patches.md` describes them. */
export function patchTfjs(): void {
  registerGradients();
  submitAfterMinimize();
  storeTensorInfoInValues();
  // In debug mode the check would read the result of every kernel, and so submit each operation alone.
  env().set('CHECK_COMPUTATION_FOR_ERRORS', false);
}
