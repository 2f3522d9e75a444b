import { WhetstoneError } from '@whetstone/core/contract';
import { cast } from '../kernels/elementwise.js';
import { type Emitter, withControlInputs, arithmetic } from '../kernels/emitter.js';
import type { Kernel } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

/** An activation's value and derivative at x: `activations` of `@whetstone/core/ops` defines the formulas. */
interface Activation {
  value<T>(emit: Emitter<T>, x: T): T;
  valueAndDerivative<T>(emit: Emitter<T>, x: T): { readonly value: T; readonly derivative: T };
}

/** x · sigmoid(x). SoftplusGrad computes the value in one pass: the gradient of softplus is the sigmoid. */
const silu: Activation = {
  value: (emit, x) => emit.op('SoftplusGrad', [x, x]),
  valueAndDerivative(emit, x) {
    const { add, subtract, multiply } = arithmetic(emit);
    const sigmoid = emit.op('Sigmoid', [x]);
    const value = multiply(x, sigmoid);
    return { value, derivative: add(sigmoid, subtract(value, multiply(value, sigmoid))) };
  },
};

/** √(2/π) and the cubic coefficient of GELU's tanh approximation (Hendrycks and Gimpel, 2016). */
const TANH_SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

function geluTanh<T>(emit: Emitter<T>, x: T): { readonly tanh: T; readonly square: T } {
  const { number, add, multiply, square } = arithmetic(emit);
  const squared = square(x);
  return {
    tanh: emit.op('Tanh', [multiply(x, add(number(TANH_SCALE), multiply(squared, number(TANH_SCALE * CUBIC))))]),
    square: squared,
  };
}

const gelu: Activation = {
  value(emit, x) {
    const { number, add, multiply } = arithmetic(emit);
    return multiply(multiply(x, number(0.5)), add(geluTanh(emit, x).tanh, number(1)));
  },
  valueAndDerivative(emit, x) {
    const { number, add, subtract, multiply, square } = arithmetic(emit);
    const inner = geluTanh(emit, x);
    const gate = multiply(add(inner.tanh, number(1)), number(0.5));
    const slope = add(number(TANH_SCALE / 2), multiply(inner.square, number(1.5 * TANH_SCALE * CUBIC)));
    return {
      value: multiply(x, gate),
      derivative: add(gate, multiply(multiply(x, slope), subtract(number(1), square(inner.tanh)))),
    };
  },
};

function normalCdf<T>(emit: Emitter<T>, x: T): T {
  const { number, add, multiply } = arithmetic(emit);
  return multiply(add(emit.op('Erf', [multiply(x, number(Math.SQRT1_2))]), number(1)), number(0.5));
}

const geluExact: Activation = {
  value: (emit, x) => emit.op('Mul', [x, normalCdf(emit, x)]),
  valueAndDerivative(emit, x) {
    const { number, add, multiply, square } = arithmetic(emit);
    const cdf = normalCdf(emit, x);
    const density = multiply(emit.op('Exp', [multiply(square(x), number(-0.5))]), number(1 / Math.sqrt(2 * Math.PI)));
    return { value: multiply(x, cdf), derivative: add(cdf, multiply(x, density)) };
  },
};

const relu: Activation = {
  value: (emit, x) => emit.op('Relu', [x]),
  valueAndDerivative: (emit, x) => ({
    value: emit.op('Relu', [x]),
    derivative: cast(emit, emit.op('Greater', [x, emit.constant('float32', [], [0])]), 'float32'),
  }),
};

const activations: Readonly<Record<string, Activation>> = {
  silu,
  swish: silu,
  gelu: geluExact,
  gelu_new: gelu,
  gelu_pytorch_tanh: gelu,
  relu,
};

function activationOf(name: unknown): Activation {
  const activation = activations[String(name)];
  if (activation === undefined)
    throw new WhetstoneError('BACKEND_FAILED', `Activation ${String(name)} not found.`, {
      expected: Object.keys(activations).join(', '),
      found: String(name),
    });
  return activation;
}

/** `activation(gate) · up`. */
const gated: Kernel = {
  name: 'WhetstoneGatedActivation',
  inputs: ['gate', 'up'],
  returnsList: true,
  rule: ([gate], { activation }) => {
    activationOf(activation);
    return { outputs: [gate as TensorSpec], parameters: [activation as string] };
  },
  tensorflow: (emit, [gate, up], _, [activation]) => emit.op('Mul', [activationOf(activation).value(emit, gate!), up!]),
};

/** Gradients with respect to gate and up. The recomputed forward values wait for the gradient, so none is kept. */
const gatedGradient: Kernel = {
  name: 'WhetstoneGatedActivationGrad',
  inputs: ['gradient', 'gate', 'up'],
  returnsList: true,
  rule: ([gradient], { activation }) => ({
    outputs: [gradient as TensorSpec, gradient as TensorSpec],
    parameters: [activation as string],
  }),
  tensorflow: (emit, [gradient, gate, up], _, [activation]) => {
    const { multiply } = arithmetic(emit);
    const { value, derivative } = activationOf(activation).valueAndDerivative(
      withControlInputs(emit, [gradient!]),
      gate!,
    );
    return [multiply(multiply(gradient!, up!), derivative), multiply(gradient!, value)];
  },
};

/** The activation without a gate. */
const plain: Kernel = {
  name: 'WhetstoneActivation',
  inputs: ['x'],
  returnsList: true,
  rule: ([x], { activation }) => {
    activationOf(activation);
    return { outputs: [x as TensorSpec], parameters: [activation as string] };
  },
  tensorflow: (emit, [x], _, [activation]) => [activationOf(activation).value(emit, x!)],
};

/** Gradient of an activation without a gate. */
const plainGradient: Kernel = {
  name: 'WhetstoneActivationGrad',
  inputs: ['gradient', 'x'],
  returnsList: true,
  rule: ([gradient], { activation }) => ({ outputs: [gradient as TensorSpec], parameters: [activation as string] }),
  tensorflow: (emit, [gradient, x], _, [activation]) => [
    emit.op('Mul', [
      gradient!,
      activationOf(activation).valueAndDerivative(withControlInputs(emit, [gradient!]), x!).derivative,
    ]),
  ],
};

export const activationKernels: readonly Kernel[] = [gated, gatedGradient, plain, plainGradient];
