import { type Emitter, flag, withControlInputs } from '../kernels/emitter.js';
import { vector, type HostOperand, type Kernel, type Parameters } from '../kernels/kernel.js';
import type { TensorSpec } from '../recorder/types.js';

/**
 * Attention in blocks of queries, each against only those keys that it can see: under a causal mask of four blocks five
 * eighths of the products, the softmax and the kept weights. `attention` of `@whetstone/core/ops` says what is
 * computed.
 */

interface Block {
  readonly firstQuery: number;
  readonly queries: number;
  readonly firstKey: number;
  readonly keys: number;
}

/** Most blocks that the gradient's record has names for. */
const MOST_BLOCKS = 8;

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

/**
 * Host operands that both kernels need, in this order: how queries unfold and fold, then for each block its places. The
 * layers of a pass share them.
 */
function places(layout: Layout): readonly HostOperand[] {
  const { batch, groups, length, width, keys, blocks } = layout;
  const key = [
    batch,
    groups,
    length,
    width,
    keys,
    ...blocks.flatMap((block) => [block.queries, block.firstKey, block.keys]),
  ].join();
  if (latest.key !== key) latest = { key, operands: Object.freeze(makePlaces(layout)) };
  return latest.operands;
}

function makePlaces({ batch, groups, length, width, keys, blocks }: Layout): HostOperand[] {
  return [
    vector([batch, groups, length, width]),
    vector([batch, groups * length, width]),
    vector([batch, groups, length, keys]),
    vector([batch, groups, length, 1]),
    ...blocks.flatMap(({ firstQuery, queries, firstKey, keys: seen }) => [
      vector([0, 0, firstQuery, 0]),
      vector([batch, groups, queries, width]),
      vector([batch, groups * queries, width]),
      vector([0, firstKey, 0]),
      vector([batch, seen, width]),
      vector([0, 0, firstQuery, firstKey]),
      vector([batch, groups, queries, seen]),
      vector([batch, groups * queries, seen]),
      vector([0, 0, firstKey, keys - firstKey - seen, 0, 0], [3, 2]),
      vector([batch, groups, queries, 1]),
      vector([batch, groups * queries, 1]),
    ]),
  ];
}

const OPERANDS_OF_ALL = 4;
const OPERANDS_OF_A_BLOCK = 11;

/** The host operands of one block by name, in the order of {@link places}. */
function namedPlaces<T>(host: readonly T[], block: number) {
  const first = OPERANDS_OF_ALL + OPERANDS_OF_A_BLOCK * block;
  const [
    queryBegin,
    querySize,
    queryFolded,
    keyBegin,
    keySize,
    biasBegin,
    biasSize,
    biasFolded,
    keyMargins,
    numberSize,
    numberFolded,
  ] = host.slice(first, first + OPERANDS_OF_A_BLOCK) as Eleven<T>;
  return {
    queryBegin,
    querySize,
    queryFolded,
    keyBegin,
    keySize,
    biasBegin,
    biasSize,
    biasFolded,
    keyMargins,
    numberSize,
    numberFolded,
  };
}

type Eleven<T> = [T, T, T, T, T, T, T, T, T, T, T];

/** All host operands by name. */
class Places<T> {
  readonly unfolded: T;
  readonly folded: T;
  readonly unfoldedBias: T;
  readonly unfoldedNumbers: T;

  constructor(private readonly host: readonly T[]) {
    [this.unfolded, this.folded, this.unfoldedBias, this.unfoldedNumbers] = host as readonly [T, T, T, T, ...T[]] as [
      T,
      T,
      T,
      T,
    ];
  }

  of(block: number): ReturnType<typeof namedPlaces<T>> {
    return namedPlaces(this.host, block);
  }
}

const product = <T>(emit: Emitter<T>, a: T, b: T, transposeA = false, transposeB = false): T =>
  emit.op('BatchMatMulV2', [a, b], { adj_x: flag(transposeA), adj_y: flag(transposeB) });

/** Queries (or what has their shape) of one block, folded. The whole where there is but one. */
function queriesOf<T>(emit: Emitter<T>, x: T, places: Places<T>, block: number, blocks: number): T {
  if (blocks === 1) return x;
  const { queryBegin, querySize, queryFolded } = places.of(block);
  return emit.op('Reshape', [
    emit.op('Slice', [emit.op('Reshape', [x, places.unfolded]), queryBegin, querySize]),
    queryFolded,
  ]);
}

/** One number a query of a block: [batch, queries, 1]. */
function numbersOf<T>(emit: Emitter<T>, x: T, places: Places<T>, block: number, blocks: number): T {
  if (blocks === 1) return x;
  const { queryBegin, numberSize, numberFolded } = places.of(block);
  return emit.op('Reshape', [
    emit.op('Slice', [emit.op('Reshape', [x, places.unfoldedNumbers]), queryBegin, numberSize]),
    numberFolded,
  ]);
}

function keysOf<T>(emit: Emitter<T>, x: T, places: Places<T>, block: number, blocks: number): T {
  const { keyBegin, keySize } = places.of(block);
  return blocks === 1 ? x : emit.op('Slice', [x, keyBegin, keySize]);
}

/** Blocks of queries put together again. */
function joinQueries<T>(emit: Emitter<T>, parts: readonly T[], places: Places<T>): T {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const unfolded = parts.map((part, block) => emit.op('Reshape', [part, places.of(block).querySize]));
  return emit.op('Reshape', [emit.op('ConcatV2', [unfolded, emit.constant('int32', [], [2])]), places.folded]);
}

/** What each block says of its keys, added up. */
function addKeys<T>(emit: Emitter<T>, parts: readonly T[], places: Places<T>): T {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const zero = emit.constant('float32', [], [0]);
  return emit.op('AddN', [parts.map((part, block) => emit.op('PadV2', [part, places.of(block).keyMargins, zero]))]);
}

/** tanh(score / cap), before it is stretched again. */
const squeeze = <T>(emit: Emitter<T>, scores: T, cap: number): T =>
  emit.op('Tanh', [emit.op('Mul', [scores, emit.constant('float32', [], [1 / cap])])]);

const structure = ({ blocks }: Layout, attributes: Readonly<Record<string, unknown>>): Parameters => [
  blocks.length,
  attributes['softCap'] as number,
];

function attend<T>(emit: Emitter<T>, inputs: readonly T[], places: Places<T>, [count, softCap]: Parameters): T[] {
  const [query, key, value, bias] = inputs as readonly [T, T, T, T];
  const blocks = count as number;
  const cap = softCap as number;
  const results: T[] = [];
  const kept = Array.from({ length: blocks }, (_, block): T => {
    const { biasBegin, biasSize, biasFolded } = places.of(block);
    const raw = product(
      emit,
      queriesOf(emit, query, places, block, blocks),
      keysOf(emit, key, places, block, blocks),
      false,
      true,
    );
    const scores = cap === 0 ? raw : emit.op('Mul', [squeeze(emit, raw, cap), emit.constant('float32', [], [cap])]);
    const hidden =
      blocks === 1
        ? bias
        : emit.op('Reshape', [
            emit.op('Slice', [emit.op('Reshape', [bias, places.unfoldedBias]), biasBegin, biasSize]),
            biasFolded,
          ]);
    const weights = emit.op('Softmax', [emit.op('AddV2', [scores, hidden])]);
    results.push(product(emit, weights, keysOf(emit, value, places, block, blocks)));
    return weights;
  });
  return [joinQueries(emit, results, places), ...kept];
}

function attendBackwards<T>(
  emit: Emitter<T>,
  inputs: readonly T[],
  places: Places<T>,
  [count, softCap]: Parameters,
): T[] {
  const [gradient, query, key, value, along, ...kept] = inputs as readonly [T, T, T, T, T, ...T[]];
  const blocks = count as number;
  const cap = softCap as number;
  // Stretches of queries, keys and values are cut out again: they would be kept from the way there beside the whole, or
  // be more than it.
  const later = withControlInputs(emit, [gradient]);
  const parts = kept.map((weights, block) => {
    const given = queriesOf(emit, gradient, places, block, blocks);
    const ofWeights = product(emit, given, keysOf(later, value, places, block, blocks), false, true);
    const raw = emit.op('Mul', [emit.op('Sub', [ofWeights, numbersOf(emit, along, places, block, blocks)]), weights]);
    const keys = keysOf(later, key, places, block, blocks);
    const queries = queriesOf(later, query, places, block, blocks);
    // The squeezed scores are computed again: keeping them would cost what the blocks save.
    const slope = (): T =>
      emit.op('Sub', [
        emit.constant('float32', [], [1]),
        emit.op('Square', [squeeze(emit, product(emit, queries, keys, false, true), cap)]),
      ]);
    const ofScores = cap === 0 ? raw : emit.op('Mul', [raw, slope()]);
    return {
      query: product(emit, ofScores, keys),
      key: product(emit, ofScores, queries, true),
      value: product(emit, weights, given, true),
    };
  });
  return [
    joinQueries(
      emit,
      parts.map((part) => part.query),
      places,
    ),
    addKeys(
      emit,
      parts.map((part) => part.key),
      places,
    ),
    addKeys(
      emit,
      parts.map((part) => part.value),
      places,
    ),
  ];
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
      host: places(layout),
    };
  },
  tensorflow: (emit, inputs, host, parameters) => attend(emit, inputs, new Places(host), parameters),
};

const attentionGradient: Kernel = {
  name: 'WhetstoneAttentionGrad',
  inputs: [
    'gradient',
    'query',
    'key',
    'value',
    'along',
    ...Array.from({ length: MOST_BLOCKS }, (_, block) => `kept${block}`),
  ],
  returnsList: true,
  eager: false,
  rule: ([, query, key, value], attributes) => {
    const layout = layoutOf(query as TensorSpec, key as TensorSpec, attributes);
    return {
      outputs: [query as TensorSpec, key as TensorSpec, value as TensorSpec],
      parameters: structure(layout, attributes),
      host: places(layout),
    };
  },
  tensorflow: (emit, inputs, host, parameters) => attendBackwards(emit, inputs, new Places(host), parameters),
};

export const attentionKernels: readonly Kernel[] = [attention, attentionGradient];
