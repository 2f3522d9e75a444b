import {
  add,
  cast,
  erf,
  exp,
  greater,
  mul,
  relu,
  sigmoid,
  square,
  sub,
  tanh,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { constant } from './recording.js';
import { customGradient, savedAt } from './custom-gradient.js';
import { fusedKernel } from './kernels.js';

/** An element-wise function and its derivative. */
interface Activation {
  value(x: Tensor): Tensor;
  /** Returns the function and its derivative at `x`, which share most of their operations. */
  valueAndDerivative(x: Tensor): { readonly value: Tensor; readonly derivative: Tensor };
}

const silu: Activation = {
  value: (x) => mul(x, sigmoid(x)),
  valueAndDerivative(x) {
    const share = sigmoid(x);
    const value = mul(x, share);
    return { value, derivative: add(share, sub(value, mul(value, share))) };
  },
};

const tanhScale = Math.sqrt(2 / Math.PI);
const cubic = 0.044715;

/** Returns tanh(√(2/π) · (x + 0.044715 x³)) and x². */
function geluTanh(x: Tensor): { bounded: Tensor; squared: Tensor } {
  const squared = square(x);
  const inner = mul(x, add(constant(tanhScale), mul(squared, constant(tanhScale * cubic))));
  return { bounded: tanh(inner), squared };
}

const gelu: Activation = {
  value: (x) => mul(mul(x, constant(0.5)), add(geluTanh(x).bounded, constant(1))),
  valueAndDerivative(x) {
    const { bounded, squared } = geluTanh(x);
    const gate = mul(add(bounded, constant(1)), constant(0.5));
    const slope = add(constant(tanhScale / 2), mul(squared, constant(1.5 * tanhScale * cubic)));
    const derivative = add(gate, mul(mul(x, slope), sub(constant(1), square(bounded))));
    return { value: mul(x, gate), derivative };
  },
};

const normalCdf = (x: Tensor): Tensor => mul(add(erf(mul(x, constant(Math.SQRT1_2))), constant(1)), constant(0.5));

const geluExact: Activation = {
  value: (x) => mul(x, normalCdf(x)),
  valueAndDerivative(x) {
    const cdf = normalCdf(x);
    const density = mul(exp(mul(square(x), constant(-0.5))), constant(1 / Math.sqrt(2 * Math.PI)));
    return { value: mul(x, cdf), derivative: add(cdf, mul(x, density)) };
  },
};

const rectifier: Activation = {
  value: (x) => relu(x),
  valueAndDerivative: (x) => ({ value: relu(x), derivative: cast(greater(x, constant(0)), 'float32') }),
};

/** Activations by their names in config.json (`hidden_act`, `hidden_activation`, `activation_function`). */
const activations = {
  silu,
  swish: silu,
  gelu: geluExact,
  gelu_new: gelu,
  gelu_pytorch_tanh: gelu,
  relu: rectifier,
} as const satisfies Record<string, Activation>;

/** The name of an activation function, as in `hidden_act` of a config.json. */
export type ActivationName = keyof typeof activations;

/** The names of all activation functions. */
export const activationNames = Object.keys(activations) as ActivationName[];

/**
 * Applies an activation, given by its name in config.json. Only `x` is saved for the gradient; other values are
 * recomputed.
 *
 * Fused kernels: `WhetstoneActivation {x; activation}` → [value], `WhetstoneActivationGrad {gradient, x; activation}` →
 * [gradient of x].
 */
export function activate<T extends Tensor>(x: T, name: ActivationName): T {
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
          mul(gradient, activations[name].valueAndDerivative(x).derivative),
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
export function activateGated<T extends Tensor>(gate: T, up: T, name: ActivationName): T {
  const attributes = { activation: name };
  return customGradient<T>(
    [gate, up],
    () => {
      const fused = fusedKernel('WhetstoneGatedActivation', { gate, up }, attributes);
      return { value: (fused?.[0] ?? mul(activations[name].value(gate), up)) as T, saved: [gate, up] };
    },
    (gradient, saved) => {
      const gate = savedAt<T>(saved, 0);
      const up = savedAt<T>(saved, 1);
      const fused = fusedKernel('WhetstoneGatedActivationGrad', { gradient, gate, up }, attributes);
      if (fused !== null) return fused;
      const { value, derivative } = activations[name].valueAndDerivative(gate);
      return [mul(mul(gradient, up), derivative), mul(gradient, value)];
    },
  );
}
