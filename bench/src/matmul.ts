import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend, WhetstoneBackend } from '@whetstone/backend';
import { report, ratio } from './report.js';
import { measureStep, smolShape } from './step.js';

export interface MatmulBenchOptions {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly rounds: number;
  readonly threads: number;
  readonly json?: boolean;
}

/** Products of one round, each with a left matrix of its own: equal ones would be computed once. */
const PRODUCTS = 20;

/** Matrix products through tfjs-core on our backend, as the library computes them by itself, and on tfjs's WebAssembly; and a small LoRA step on both. */
export async function benchMatmul(options: MatmulBenchOptions): Promise<void> {
  const { rows, inner, columns, rounds, threads } = options;
  const gigaflops = (2 * rows * inner * columns) / 1e9;
  await resolveBackend({ name: 'whetstone', threads, engine: 'tensorflow' });
  const ours = tf.backend();
  if (!(ours instanceof WhetstoneBackend)) throw new Error('The backend whetstone is not there.');
  const through = throughTfjs(ours, options);
  const alone = byTheLibrary(ours, options);
  // In turns, so that whatever else the machine does falls on both.
  const times = { through: [] as number[], alone: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    times.through.push(await through.round());
    times.alone.push(await alone.round());
  }
  through.dispose();
  alone.dispose();
  const [tfjsSeconds, librarySeconds] = [best(times.through), best(times.alone)];
  const oursStep = await smallStep('whetstone', threads);

  await resolveBackend({ name: 'wasm', threads });
  const wasmSeconds = await onWasm(options);
  const wasmStep = await smallStep('wasm', threads);
  const result = {
    rows, inner, columns, threads,
    gigaflopsThroughTfjs: gigaflops / tfjsSeconds, gigaflopsOfLibrary: gigaflops / librarySeconds, gigaflopsOfWasm: gigaflops / wasmSeconds,
    stepSeconds: oursStep, wasmStepSeconds: wasmStep,
  };
  const lines = [
    `[${rows}, ${inner}] · [${columns}, ${inner}]ᵀ through tfjs: ${result.gigaflopsThroughTfjs.toFixed(1)} GFLOP/s; TensorFlow's own: ${result.gigaflopsOfLibrary.toFixed(1)} GFLOP/s; ours to theirs: ${ratio(librarySeconds, tfjsSeconds)}`,
    `tfjs-backend-wasm: ${result.gigaflopsOfWasm.toFixed(1)} GFLOP/s; ours to theirs: ${ratio(wasmSeconds, tfjsSeconds)}`,
    `LoRA step of ${SMALL.layers} layers, ${SMALL.batch} × ${SMALL.length} tokens: ${oursStep.toFixed(2)} s, wasm ${wasmStep.toFixed(2)} s; ours to theirs: ${ratio(wasmStep, oursStep)}`,
  ];
  report(lines, result, options.json === true);
}

/** The first is left out: it compiles. */
const best = ([, ...seconds]: readonly number[]): number => Math.min(...seconds);

interface Rounds {
  /** Seconds a product. */
  round(): Promise<number>;
  dispose(): void;
}

const values = (count: number): Float32Array => Float32Array.from({ length: count }, (_, index) => Math.sin(index));

function throughTfjs(backend: WhetstoneBackend, { rows, inner, columns }: MatmulBenchOptions): Rounds {
  const left = Array.from({ length: PRODUCTS }, () => tf.tensor2d(values(rows * inner), [rows, inner]));
  const right = tf.tensor2d(values(columns * inner), [columns, inner]);
  return {
    async round() {
      const started = performance.now();
      const products = left.map((matrix) => tf.matMul(matrix, right, false, true));
      await backend.settle();
      const seconds = (performance.now() - started) / 1000 / PRODUCTS;
      tf.dispose(products);
      return seconds;
    },
    dispose: () => tf.dispose([...left, right]),
  };
}

/** The same products as one function of TensorFlow's, run without tfjs-core. */
function byTheLibrary({ engine }: WhetstoneBackend, { rows, inner, columns }: MatmulBenchOptions): Rounds {
  type Program = Parameters<typeof engine.compile>[0];
  type Kernel = Program['steps'][number]['kernel'];
  const kernel: Kernel = {
    name: 'MatMul',
    inputs: 'list',
    rule: () => ({ outputs: [] }),
    tensorflow: (emit, [a, b]) => emit.op('MatMul', [a!, b!], { transpose_a: { kind: 'bool', value: false }, transpose_b: { kind: 'bool', value: true } }),
  };
  const inputs = [
    ...Array.from({ length: PRODUCTS }, () => engine.upload('float32', [rows, inner], values(rows * inner))),
    engine.upload('float32', [columns, inner], values(columns * inner)),
  ];
  const types = Array.from({ length: 2 * PRODUCTS + 1 }, () => 'float32' as const);
  const program: Program = {
    name: 'products',
    matmul: 'float32',
    inputTypes: types.slice(0, PRODUCTS + 1),
    steps: Array.from({ length: PRODUCTS }, (_, index) => ({ kernel, parameters: [], inputs: [index, PRODUCTS], tensorInputs: 2, firstOutput: PRODUCTS + 1 + index, outputs: 1 })),
    types,
    outputs: Array.from({ length: PRODUCTS }, (_, index) => PRODUCTS + 1 + index),
  };
  const executable = engine.compile(program, () => 'MatMul');
  return {
    async round() {
      const started = performance.now();
      const products = engine.run(executable, inputs, () => 'MatMul');
      await engine.waitLater();
      const seconds = (performance.now() - started) / 1000 / PRODUCTS;
      for (const product of products) engine.release(product);
      return seconds;
    },
    dispose() {
      executable.dispose();
      for (const input of inputs) engine.release(input);
    },
  };
}

async function onWasm({ rows, inner, columns }: MatmulBenchOptions): Promise<number> {
  const left = tf.tensor2d(values(rows * inner), [rows, inner]);
  const right = tf.tensor2d(values(columns * inner), [columns, inner]);
  const seconds: number[] = [];
  for (let round = 0; round < 4; round++) {
    const started = performance.now();
    const product = tf.matMul(left, right, false, true);
    await product.data();
    seconds.push((performance.now() - started) / 1000);
    product.dispose();
  }
  tf.dispose([left, right]);
  return best(seconds);
}

const SMALL = { layers: 4, batch: 2, length: 128 } as const;

async function smallStep(backend: string, threads: number): Promise<number> {
  const info = await resolveBackend({ name: backend, threads });
  const shape = { ...smolShape, num_hidden_layers: SMALL.layers };
  const { seconds } = await measureStep(info, shape, { mode: 'lora', batch: SMALL.batch, length: SMALL.length, steps: 3 });
  return best(seconds);
}
