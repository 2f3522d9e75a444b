import * as tf from '@tensorflow/tfjs-core';
import { activations, type ActivationName } from './activations.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './fused-kernel.js';

/**
 * Applies an activation, given by its name in config.json. Only `x` is saved for the gradient; other values are
 * recomputed.
 *
 * Fused kernels: `WhetstoneActivation {x; activation}` → [value], `WhetstoneActivationGrad {gradient, x; activation}` →
 * [gradient of x].
 */
export function activate<T extends tf.Tensor>(x: T, name: ActivationName): T {
  return customGradient<T>(
    [x],
    () => ({
      value: (fusedKernel('WhetstoneActivation', { x }, { activation: name })?.[0] ?? activations[name].value(x)) as T,
      saved: [x],
    }),
    (gradient, saved) => {
      const x = savedAt<T>(saved, 0);
      return (
        fusedKernel('WhetstoneActivationGrad', { gradient, x }, { activation: name }) ?? [
          tf.mul(gradient, activations[name].valueAndDerivative(x).derivative),
        ]
      );
    },
  );
}

/**
 * Returns `activation(gate) · up`: the gated feed-forward unit (Shazeer 2020; SwiGLU with `silu`). All tensors have the
 * same shape. Only the inputs are saved for the gradient.
 *
 * Fused kernels: `WhetstoneGatedActivation {gate, up; activation}` → [value], `WhetstoneGatedActivationGrad {gradient,
 * gate, up; activation}` → [gradient of gate, of up].
 */
export function activateGated<T extends tf.Tensor>(gate: T, up: T, name: ActivationName): T {
  const attributes = { activation: name };
  return customGradient<T>(
    [gate, up],
    () => {
      const fused = fusedKernel('WhetstoneGatedActivation', { gate, up }, attributes);
      return { value: (fused?.[0] ?? tf.mul(activations[name].value(gate), up)) as T, saved: [gate, up] };
    },
    (gradient, saved) => {
      const gate = savedAt<T>(saved, 0);
      const up = savedAt<T>(saved, 1);
      const fused = fusedKernel('WhetstoneGatedActivationGrad', { gradient, gate, up }, attributes);
      if (fused !== null) return fused;
      const { value, derivative } = activations[name].valueAndDerivative(gate);
      return [tf.mul(tf.mul(gradient, up), derivative), tf.mul(gradient, value)];
    },
  );
}
