import { flag, withControlInputs, type Emitter } from '../kernels/emitter.js';
import { vector, type HostOperand, type Kernel, type Parameters } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

// Attention in blocks of queries, each with only the keys that it can see. Under a causal mask, four blocks compute and
// keep five eighths of the products and weights. `attention` of `@whetstone/core/ops` defines the result.
//
// Shapes: query [batch, groups · length, width], key and value [batch, keys, width], bias [batch, groups · length,
// keys], where batch = rows · key heads. "Folded" means that the queries of a group's heads share the second axis.

interface Block {
  readonly firstQuery: number;
  readonly queries: number;
  readonly firstKey: number;
  readonly keys: number;
}

/** Most blocks: the gradient has one named input per block. */
const MAX_BLOCKS = 8;

interface Layout {
  readonly batch: number;
  readonly groups: number;
  readonly length: number;
  readonly width: number;
  readonly keys: number;
  readonly blocks: readonly Block[];
}

function layoutOf(query: TensorSpec, key: TensorSpec, attributes: Readonly<Record<string, unknown>>): Layout {
  const [batch = 1, queries = 1, width = 1] = query.shape;
  const groups = attributes['groups'] as number;
  const numbers = attributes['blocks'] as readonly number[];
  let firstQuery = 0;
  const blocks = Array.from({ length: numbers.length / 3 }, (_, index): Block => {
    const [count = 0, firstKey = 0, keys = 0] = numbers.slice(3 * index, 3 * index + 3);
    const block = { firstQuery, queries: count, firstKey, keys };
    firstQuery += count;
    return block;
  });
  return { batch, groups, length: queries / groups, width, keys: key.shape[1] ?? 0, blocks };
}

let latest: { readonly key: string; readonly operands: readonly HostOperand[] } = { key: '', operands: [] };

/** Returns the host operands of both kernels: the folded and unfolded shapes, then the slices of each block. */
function hostOperands(layout: Layout): readonly HostOperand[] {
  const { batch, groups, length, width, keys, blocks } = layout;
  const key = [
    batch,
    groups,
    length,
    width,
    keys,
    ...blocks.flatMap((block) => [block.queries, block.firstKey, block.keys]),
  ].join();
  // The layers of a pass have the same layout and share one frozen list.
  if (latest.key !== key) latest = { key, operands: Object.freeze(createHostOperands(layout)) };
  return latest.operands;
}

function createHostOperands({ batch, groups, length, width, keys, blocks }: Layout): HostOperand[] {
  return [
    vector([batch, groups, length, width]),
    vector([batch, groups * length, width]),
    vector([batch, groups, length, keys]),
    vector([batch, groups, length, 1]),
    ...blocks.flatMap(({ firstQuery, queries, firstKey, keys: visible }) => [
      vector([0, 0, firstQuery, 0]),
      vector([batch, groups, queries, width]),
      vector([batch, groups * queries, width]),
      vector([0, firstKey, 0]),
      vector([batch, visible, width]),
      vector([0, 0, firstQuery, firstKey]),
      vector([batch, groups, queries, visible]),
      vector([batch, groups * queries, visible]),
      vector([0, 0, firstKey, keys - firstKey - visible, 0, 0], [3, 2]),
      vector([batch, groups, queries, 1]),
      vector([batch, groups * queries, 1]),
    ]),
  ];
}

const SHARED_OPERANDS = 4;
const BLOCK_OPERANDS = 11;

type Eleven<T> = [T, T, T, T, T, T, T, T, T, T, T];

/** Returns the host operands of one block by name, in the order of {@link createHostOperands}. */
function blockOperands<T>(host: readonly T[], block: number) {
  const first = SHARED_OPERANDS + BLOCK_OPERANDS * block;
  const [
    queryBegin,
    querySize,
    queryFolded,
    keyBegin,
    keySize,
    biasBegin,
    biasSize,
    biasFolded,
    keyPadding,
    scalarSize,
    scalarFolded,
  ] = host.slice(first, first + BLOCK_OPERANDS) as Eleven<T>;
  return {
    queryBegin,
    querySize,
    queryFolded,
    keyBegin,
    keySize,
    biasBegin,
    biasSize,
    biasFolded,
    keyPadding,
    scalarSize,
    scalarFolded,
  };
}

/** The host operands of a kernel by name. */
class Shapes<T> {
  readonly unfolded: T;
  readonly folded: T;
  readonly unfoldedBias: T;
  readonly unfoldedScalars: T;

  constructor(private readonly host: readonly T[]) {
    [this.unfolded, this.folded, this.unfoldedBias, this.unfoldedScalars] = host as readonly T[] as [T, T, T, T];
  }

  block(index: number): ReturnType<typeof blockOperands<T>> {
    return blockOperands(this.host, index);
  }
}

const product = <T>(emit: Emitter<T>, a: T, b: T, transposeA = false, transposeB = false): T =>
  emit.op('BatchMatMulV2', [a, b], { adj_x: flag(transposeA), adj_y: flag(transposeB) });

/** Returns the queries of one block, folded; `x` may be any tensor with the shape of the queries. */
function queriesOf<T>(emit: Emitter<T>, x: T, shapes: Shapes<T>, block: number, blocks: number): T {
  if (blocks === 1) return x;
  const { queryBegin, querySize, queryFolded } = shapes.block(block);
  return emit.op('Reshape', [
    emit.op('Slice', [emit.op('Reshape', [x, shapes.unfolded]), queryBegin, querySize]),
    queryFolded,
  ]);
}

/** Returns one number per query of a block: [batch, groups · queries, 1]. */
function scalarsOf<T>(emit: Emitter<T>, x: T, shapes: Shapes<T>, block: number, blocks: number): T {
  if (blocks === 1) return x;
  const { queryBegin, scalarSize, scalarFolded } = shapes.block(block);
  return emit.op('Reshape', [
    emit.op('Slice', [emit.op('Reshape', [x, shapes.unfoldedScalars]), queryBegin, scalarSize]),
    scalarFolded,
  ]);
}

/** Returns the keys, or values, that one block can see. */
function keysOf<T>(emit: Emitter<T>, x: T, shapes: Shapes<T>, block: number, blocks: number): T {
  const { keyBegin, keySize } = shapes.block(block);
  return blocks === 1 ? x : emit.op('Slice', [x, keyBegin, keySize]);
}

/** Returns the bias of one block. */
function biasOf<T>(emit: Emitter<T>, bias: T, shapes: Shapes<T>, block: number, blocks: number): T {
  const { biasBegin, biasSize, biasFolded } = shapes.block(block);
  if (blocks === 1) return bias;
  return emit.op('Reshape', [
    emit.op('Slice', [emit.op('Reshape', [bias, shapes.unfoldedBias]), biasBegin, biasSize]),
    biasFolded,
  ]);
}

/** Concatenates the query blocks. */
function joinQueries<T>(emit: Emitter<T>, blocks: readonly T[], shapes: Shapes<T>): T {
  const [only] = blocks;
  if (blocks.length === 1 && only !== undefined) return only;
  const unfolded = blocks.map((queries, block) => emit.op('Reshape', [queries, shapes.block(block).querySize]));
  return emit.op('Reshape', [emit.op('ConcatV2', [unfolded, emit.constant('int32', [], [2])]), shapes.folded]);
}

/** Adds the blocks' gradients of their keys. */
function addKeys<T>(emit: Emitter<T>, blocks: readonly T[], shapes: Shapes<T>): T {
  const [only] = blocks;
  if (blocks.length === 1 && only !== undefined) return only;
  const zero = emit.constant('float32', [], [0]);
  return emit.op('AddN', [blocks.map((keys, block) => emit.op('PadV2', [keys, shapes.block(block).keyPadding, zero]))]);
}

/** Returns tanh(score / cap), a soft-capped score before it is scaled by the cap. */
const squash = <T>(emit: Emitter<T>, scores: T, cap: number): T =>
  emit.op('Tanh', [emit.op('Mul', [scores, emit.constant('float32', [], [1 / cap])])]);

const structure = ({ blocks }: Layout, attributes: Readonly<Record<string, unknown>>): Parameters => [
  blocks.length,
  attributes['softCap'] as number,
];

/** Emits attention. Returns the result and the weights of each block. */
function attend<T>(emit: Emitter<T>, inputs: readonly T[], shapes: Shapes<T>, [count, softCap]: Parameters): T[] {
  const [query, key, value, bias] = inputs as readonly [T, T, T, T];
  const blocks = count as number;
  const cap = softCap as number;
  const results: T[] = [];
  const kept = Array.from({ length: blocks }, (_, block): T => {
    const queries = queriesOf(emit, query, shapes, block, blocks);
    const raw = product(emit, queries, keysOf(emit, key, shapes, block, blocks), false, true);
    const scores = cap === 0 ? raw : emit.op('Mul', [squash(emit, raw, cap), emit.constant('float32', [], [cap])]);
    const masked = emit.op('AddV2', [scores, biasOf(emit, bias, shapes, block, blocks)]);
    const weights = emit.op('Softmax', [masked]);
    results.push(product(emit, weights, keysOf(emit, value, shapes, block, blocks)));
    return weights;
  });
  return [joinQueries(emit, results, shapes), ...kept];
}

/** Emits the gradient of attention with respect to query, key and value. */
function attendBackwards<T>(
  emit: Emitter<T>,
  inputs: readonly T[],
  shapes: Shapes<T>,
  [count, softCap]: Parameters,
): T[] {
  const [gradient, query, key, value, along, ...kept] = inputs as readonly [T, T, T, T, T, ...T[]];
  const blocks = count as number;
  const cap = softCap as number;
  // Queries, keys and values are sliced again. The blocks of the forward pass would need additional memory until now.
  const later = withControlInputs(emit, [gradient]);
  const gradients = kept.map((weights, block) => {
    const resultGradient = queriesOf(emit, gradient, shapes, block, blocks);
    const weightGradient = product(emit, resultGradient, keysOf(later, value, shapes, block, blocks), false, true);
    const raw = emit.op('Mul', [
      emit.op('Sub', [weightGradient, scalarsOf(emit, along, shapes, block, blocks)]),
      weights,
    ]);
    const keys = keysOf(later, key, shapes, block, blocks);
    const queries = queriesOf(later, query, shapes, block, blocks);
    // Soft-capped scores are recomputed: keeping them would cost the memory that the blocks save.
    const slope = (): T =>
      emit.op('Sub', [
        emit.constant('float32', [], [1]),
        emit.op('Square', [squash(emit, product(emit, queries, keys, false, true), cap)]),
      ]);
    const scoreGradient = cap === 0 ? raw : emit.op('Mul', [raw, slope()]);
    return {
      query: product(emit, scoreGradient, keys),
      key: product(emit, scoreGradient, queries, true),
      value: product(emit, weights, resultGradient, true),
    };
  });
  const of = (name: 'query' | 'key' | 'value'): T[] => gradients.map((block) => block[name]);
  return [joinQueries(emit, of('query'), shapes), addKeys(emit, of('key'), shapes), addKeys(emit, of('value'), shapes)];
}

const attention: Kernel = {
  name: 'WhetstoneAttention',
  inputs: ['query', 'key', 'value', 'bias'],
  returnsList: true,
  eager: false,
  rule: ([query, key], attributes) => {
    const layout = layoutOf(query as TensorSpec, key as TensorSpec, attributes);
    const weights = layout.blocks.map(({ queries, keys }) => ({
      shape: [layout.batch, layout.groups * queries, keys],
      dtype: 'float32' as const,
    }));
    return {
      outputs: [query as TensorSpec, ...weights],
      parameters: structure(layout, attributes),
      host: hostOperands(layout),
    };
  },
  tensorflow: (emit, inputs, host, parameters) => attend(emit, inputs, new Shapes(host), parameters),
};

const attentionGradient: Kernel = {
  name: 'WhetstoneAttentionGrad',
  inputs: [
    'gradient',
    'query',
    'key',
    'value',
    'along',
    ...Array.from({ length: MAX_BLOCKS }, (_, block) => `kept${block}`),
  ],
  returnsList: true,
  eager: false,
  rule: ([, query, key, value], attributes) => {
    const layout = layoutOf(query as TensorSpec, key as TensorSpec, attributes);
    return {
      outputs: [query as TensorSpec, key as TensorSpec, value as TensorSpec],
      parameters: structure(layout, attributes),
      host: hostOperands(layout),
    };
  },
  tensorflow: (emit, inputs, host, parameters) => attendBackwards(emit, inputs, new Shapes(host), parameters),
};

export const attentionKernels: readonly Kernel[] = [attention, attentionGradient];
