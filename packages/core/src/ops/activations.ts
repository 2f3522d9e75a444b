import * as tf from '@tensorflow/tfjs-core';
import { constant } from './constant.js';

/** An element-wise function and its derivative. */
interface Activation {
  value(x: tf.Tensor): tf.Tensor;
  /** Returns the function and its derivative at `x`, which share most of their operations. */
  valueAndDerivative(x: tf.Tensor): { readonly value: tf.Tensor; readonly derivative: tf.Tensor };
}

const silu: Activation = {
  value: (x) => tf.mul(x, tf.sigmoid(x)),
  valueAndDerivative(x) {
    const sigmoid = tf.sigmoid(x);
    const value = tf.mul(x, sigmoid);
    return { value, derivative: tf.add(sigmoid, tf.sub(value, tf.mul(value, sigmoid))) };
  },
};

const tanhScale = Math.sqrt(2 / Math.PI);
const cubic = 0.044715;

/** Returns tanh(√(2/π) · (x + 0.044715 x³)) and x². */
function geluTanh(x: tf.Tensor): { tanh: tf.Tensor; square: tf.Tensor } {
  const square = tf.square(x);
  const inner = tf.mul(x, tf.add(constant(tanhScale), tf.mul(square, constant(tanhScale * cubic))));
  return { tanh: tf.tanh(inner), square };
}

const gelu: Activation = {
  value: (x) => tf.mul(tf.mul(x, constant(0.5)), tf.add(geluTanh(x).tanh, constant(1))),
  valueAndDerivative(x) {
    const { tanh, square } = geluTanh(x);
    const gate = tf.mul(tf.add(tanh, constant(1)), constant(0.5));
    const slope = tf.add(constant(tanhScale / 2), tf.mul(square, constant(1.5 * tanhScale * cubic)));
    const derivative = tf.add(gate, tf.mul(tf.mul(x, slope), tf.sub(constant(1), tf.square(tanh))));
    return { value: tf.mul(x, gate), derivative };
  },
};

const normalCdf = (x: tf.Tensor): tf.Tensor =>
  tf.mul(tf.add(tf.erf(tf.mul(x, constant(Math.SQRT1_2))), constant(1)), constant(0.5));

const geluExact: Activation = {
  value: (x) => tf.mul(x, normalCdf(x)),
  valueAndDerivative(x) {
    const cdf = normalCdf(x);
    const density = tf.mul(tf.exp(tf.mul(tf.square(x), constant(-0.5))), constant(1 / Math.sqrt(2 * Math.PI)));
    return { value: tf.mul(x, cdf), derivative: tf.add(cdf, tf.mul(x, density)) };
  },
};

const relu: Activation = {
  value: (x) => tf.relu(x),
  valueAndDerivative: (x) => ({ value: tf.relu(x), derivative: tf.cast(tf.greater(x, constant(0)), 'float32') }),
};

/** Activations by their names in config.json (`hidden_act`, `hidden_activation`, `activation_function`). */
export const activations = {
  silu,
  swish: silu,
  gelu: geluExact,
  gelu_new: gelu,
  gelu_pytorch_tanh: gelu,
  relu,
} as const satisfies Record<string, Activation>;

/** The name of an activation function, as in `hidden_act` of a config.json. */
export type ActivationName = keyof typeof activations;

/** The names of all activation functions. */
export const activationNames = Object.keys(activations) as ActivationName[];
