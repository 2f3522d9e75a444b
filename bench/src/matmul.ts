import '@whetstone/core/tfjs-gradients';
import * as tf from '@tensorflow/tfjs-core';
import { resolveBackend } from '@whetstone/backend';
import { WhetstoneBackend } from '@whetstone/backend/internal';
import { medianOf, ratio, report, spread, summarize, type Summary } from './report.js';
import { shapes } from './shapes.js';
import { measureStep } from './step.js';

/** A product [rows, inner] · [columns, inner]ᵀ. */
export interface ProductShape {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

export interface MatmulBenchOptions {
  readonly shapes: readonly ProductShape[];
  readonly rounds: number;
  readonly threads: number;
  /** Whether tfjs-backend-wasm is measured, too: the first shape, and a small LoRA step. */
  readonly wasm: boolean;
  readonly json?: boolean;
}

/**
 * Products of one round, each with a left matrix of its own: equal ones would be computed once. Few of large ones, so
 * that a round takes a third of a second at most.
 */
const productsOf = (shape: ProductShape): number => Math.min(20, Math.max(2, Math.ceil(40 / gigaflops(shape))));

/** `1024x576x1536` as rows, inner and columns. Throws where it is none. */
export function readShape(text: string): ProductShape {
  const [, rows, inner, columns] = (/^([1-9]\d*)x([1-9]\d*)x([1-9]\d*)$/.exec(text) ?? []).map(Number);
  if (rows === undefined || inner === undefined || columns === undefined)
    throw new Error(`${text} is not the shape of a product: rows x inner x columns, for example 1024x576x1536`);
  return { rows, inner, columns };
}

/**
 * Matrix products through tfjs-core on our backend, as the library computes them by itself, and on tfjs's WebAssembly;
 * and a small LoRA step on both.
 */
export async function benchMatmul(options: MatmulBenchOptions): Promise<void> {
  const { shapes, rounds, threads } = options;
  await resolveBackend({ name: 'whetstone', threads, engine: 'tensorflow' });
  const ours = tf.backend();
  if (!(ours instanceof WhetstoneBackend)) throw new Error('The backend whetstone is not there.');
  const lines: string[] = [];
  const products: object[] = [];
  const gigaflopsThroughTfjs: number[] = [];
  for (const shape of shapes) {
    const through = throughTfjs(ours, shape);
    const alone = byTheLibrary(ours, shape);
    // In turns, so that whatever else the machine does falls on both.
    const times = { through: [] as number[], alone: [] as number[] };
    for (let round = 0; round < WARM_UP + rounds; round++) {
      times.through.push(await through.round());
      times.alone.push(await alone.round());
    }
    through.dispose();
    alone.dispose();
    const [tfjs, library] = [speeds(shape, times.through), speeds(shape, times.alone)];
    gigaflopsThroughTfjs.push(tfjs.median);
    products.push({ ...shape, gigaflopsThroughTfjs: tfjs, gigaflopsOfLibrary: library });
    lines.push(
      `${spelled(shape)} through tfjs: ${spread(tfjs, 1)} GFLOP/s; by TensorFlow itself: ${spread(library, 1)} ` +
        `GFLOP/s; ratio: ${ratio(tfjs.median, library.median)}`,
    );
  }
  const [first] = shapes;
  const wasm =
    options.wasm && first !== undefined ? await besideWasm(first, threads, gigaflopsThroughTfjs[0] ?? NaN) : null;
  report(
    [medianOf(rounds, 'round'), ...lines, ...(wasm?.lines ?? [])],
    { threads, rounds, products, ...wasm?.result },
    options.json === true,
  );
}

/** The first shape and a small LoRA step on tfjs's WebAssembly. */
async function besideWasm(
  shape: ProductShape,
  threads: number,
  gigaflopsOfOurs: number,
): Promise<{ readonly lines: readonly string[]; readonly result: object }> {
  const stepSeconds = await smallStep('whetstone', threads);
  await resolveBackend({ name: 'wasm', threads });
  const gigaflopsOfWasm = speeds(shape, await onWasm(shape), 1);
  const wasmStepSeconds = await smallStep('wasm', threads);
  return {
    lines: [
      `${spelled(shape)} on tfjs-backend-wasm: ${spread(gigaflopsOfWasm, 1)} GFLOP/s; ratio: ` +
        `${ratio(gigaflopsOfOurs, gigaflopsOfWasm.median)}`,
      `LoRA step of ${SMALL.layers} layers, ${SMALL.batch} × ${SMALL.length} tokens: ${spread(stepSeconds)} s, ` +
        `wasm ${spread(wasmStepSeconds)} s; speed: ${ratio(wasmStepSeconds.median, stepSeconds.median)}`,
    ],
    result: { gigaflopsOfWasm, stepSeconds, wasmStepSeconds },
  };
}

const gigaflops = ({ rows, inner, columns }: ProductShape): number => (2 * rows * inner * columns) / 1e9;
const spelled = ({ rows, inner, columns }: ProductShape): string => `[${rows}, ${inner}] · [${columns}, ${inner}]ᵀ`;

/** Rounds that are left out: a small graph runs op by op three times before it is compiled. */
const WARM_UP = 5;

/** GFLOP/s of the rounds after the first ones. */
const speeds = (shape: ProductShape, seconds: readonly number[], warmUp = WARM_UP): Summary =>
  summarize(seconds.slice(warmUp).map((value) => gigaflops(shape) / value));

interface Rounds {
  /** Seconds a product. */
  round(): Promise<number>;
  dispose(): void;
}

const values = (size: number): Float32Array => Float32Array.from({ length: size }, (_, index) => Math.sin(index));

function throughTfjs(backend: WhetstoneBackend, shape: ProductShape): Rounds {
  const { rows, inner, columns } = shape;
  const count = productsOf(shape);
  const left = Array.from({ length: count }, () => tf.tensor2d(values(rows * inner), [rows, inner]));
  const right = tf.tensor2d(values(columns * inner), [columns, inner]);
  return {
    async round() {
      const started = performance.now();
      const products = left.map((matrix) => tf.matMul(matrix, right, false, true));
      await backend.settle();
      const seconds = (performance.now() - started) / 1000 / count;
      tf.dispose(products);
      return seconds;
    },
    dispose: () => tf.dispose([...left, right]),
  };
}

/** The same products as one function of TensorFlow's, run without tfjs-core. */
function byTheLibrary({ engine }: WhetstoneBackend, shape: ProductShape): Rounds {
  const { rows, inner, columns } = shape;
  const count = productsOf(shape);
  type Program = Parameters<typeof engine.compile>[0];
  type Kernel = Program['steps'][number]['kernel'];
  const kernel: Kernel = {
    name: 'MatMul',
    inputs: 'list',
    rule: () => ({ outputs: [] }),
    tensorflow: (emit, [a, b]) =>
      emit.op('MatMul', [a!, b!], {
        transpose_a: { kind: 'bool', value: false },
        transpose_b: { kind: 'bool', value: true },
      }),
  };
  const inputs = [
    ...Array.from({ length: count }, () => engine.upload('float32', [rows, inner], values(rows * inner))),
    engine.upload('float32', [columns, inner], values(columns * inner)),
  ];
  const types = Array.from({ length: 2 * count + 1 }, () => 'float32' as const);
  const program: Program = {
    name: 'products',
    matmul: 'float32',
    inputTypes: types.slice(0, count + 1),
    steps: Array.from({ length: count }, (_, index) => ({
      kernel,
      parameters: [],
      inputs: [index, count],
      tensorInputs: 2,
      firstOutput: count + 1 + index,
      outputs: 1,
    })),
    types,
    outputs: Array.from({ length: count }, (_, index) => count + 1 + index),
  };
  const executable = engine.compile(program, () => 'MatMul');
  return {
    async round() {
      const started = performance.now();
      const products = engine.run(executable, inputs, () => 'MatMul');
      await engine.waitLater();
      const seconds = (performance.now() - started) / 1000 / count;
      for (const product of products) engine.release(product);
      return seconds;
    },
    dispose() {
      executable.dispose();
      for (const input of inputs) engine.release(input);
    },
  };
}

/** Seconds of each product; the first warms up. */
async function onWasm({ rows, inner, columns }: ProductShape): Promise<number[]> {
  const left = tf.tensor2d(values(rows * inner), [rows, inner]);
  const right = tf.tensor2d(values(columns * inner), [columns, inner]);
  const seconds: number[] = [];
  for (let round = 0; round < 6; round++) {
    const started = performance.now();
    const product = tf.matMul(left, right, false, true);
    await product.data();
    seconds.push((performance.now() - started) / 1000);
    product.dispose();
  }
  tf.dispose([left, right]);
  return seconds;
}

const SMALL = { layers: 2, batch: 2, length: 64 } as const;

/** Seconds of the steps after the first. */
async function smallStep(backend: string, threads: number): Promise<Summary> {
  const info = await resolveBackend({ name: backend, threads });
  const shape = { ...shapes.smol, num_hidden_layers: SMALL.layers };
  const { seconds } = await measureStep(info, shape, {
    mode: 'lora',
    batch: SMALL.batch,
    length: SMALL.length,
    steps: 5,
  });
  return summarize(seconds.slice(1));
}
