import type { DecoderShape } from './shape.js';

/** One stored parameter: its name, its shape and its initial values in a new model. */
export interface ParameterShape {
  readonly name: string;
  readonly shape: readonly number[];
  readonly fresh: 'random' | 'zeros' | 'ones';
}

/** Name and sizes of a linear layer. */
export interface LinearShape {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
  readonly isOutput: boolean;
}

/** Module paths of one layer. */
export interface LayerNames {
  readonly attention: string;
  readonly queryKeyValue: readonly string[];
  readonly attentionOutput: string;
  readonly gateUp: readonly string[];
  readonly down: string;
  readonly beforeAttention: string;
  readonly afterAttention: string | null;
  readonly beforeMlp: string;
  readonly afterMlp: string | null;
  readonly queryNorm: string;
  readonly keyNorm: string;
}

/** Returns the module paths of layer number `layer`. */
export function layerNames({ names }: DecoderShape, layer: number): LayerNames {
  const at = `${names.prefix}.${names.layers}.${layer}`;
  const attention = `${at}.${names.attention}`;
  const mlp = `${at}.${names.mlp}`;
  const { norms } = names;
  return {
    attention,
    queryKeyValue: names.queryKeyValue.map((name) => `${attention}.${name}`),
    attentionOutput: `${attention}.${names.attentionOutput}`,
    gateUp: names.gateUp.layers.map((name) => `${mlp}.${name}`),
    down: `${mlp}.${names.down}`,
    beforeAttention: `${at}.${norms.beforeAttention}`,
    afterAttention: norms.afterAttention === null ? null : `${at}.${norms.afterAttention}`,
    beforeMlp: `${at}.${norms.beforeMlp}`,
    afterMlp: norms.afterMlp === null ? null : `${at}.${norms.afterMlp}`,
    queryNorm: `${attention}.${norms.query}`,
    keyNorm: `${attention}.${norms.key}`,
  };
}

export const embeddingName = ({ names }: DecoderShape): string => `${names.prefix}.${names.embedding}`;
export const positionsName = ({ names }: DecoderShape): string | null =>
  names.positions === null ? null : `${names.prefix}.${names.positions}`;
export const finalNormName = ({ names }: DecoderShape): string => `${names.prefix}.${names.norms.final}`;
export const HEAD_NAME = 'lm_head';

/** Returns the linear layers in the order of computation, the head last. */
export function linearShapes(shape: DecoderShape): readonly LinearShape[] {
  const { hiddenSize, intermediateSize, biases } = shape;
  const queries = shape.heads * shape.headDim;
  const keys = shape.keyValueHeads * shape.headDim;
  const linear = (name: string, inFeatures: number, outFeatures: number, bias: boolean): LinearShape => ({
    name,
    inFeatures,
    outFeatures,
    bias,
    isOutput: false,
  });
  const layers = shape.layers.flatMap((_, index) => {
    const names = layerNames(shape, index);
    const queryKeyValueSizes = names.queryKeyValue.length === 1 ? [queries + 2 * keys] : [queries, keys, keys];
    const gateUpSize = shape.names.gateUp.kind === 'stacked' ? 2 * intermediateSize : intermediateSize;
    return [
      ...names.queryKeyValue.map((name, which) =>
        linear(name, hiddenSize, queryKeyValueSizes[which] ?? 0, biases.queryKeyValue),
      ),
      linear(names.attentionOutput, queries, hiddenSize, biases.attentionOutput),
      ...names.gateUp.map((name) => linear(name, hiddenSize, gateUpSize, biases.gateUp)),
      linear(names.down, intermediateSize, hiddenSize, biases.down),
    ];
  });
  return [
    ...layers,
    { name: HEAD_NAME, inFeatures: hiddenSize, outFeatures: shape.vocabularySize, bias: false, isOutput: true },
  ];
}

/** Returns every parameter that the model's files must contain. A tied head has no parameter of its own. */
export function parameterShapes(shape: DecoderShape): readonly ParameterShape[] {
  const { hiddenSize, headDim, norm, fanInFanOut } = shape;
  const table = (name: string, rows: number): ParameterShape => ({
    name: `${name}.weight`,
    shape: [rows, hiddenSize],
    fresh: 'random',
  });
  const normOf = (name: string | null, size: number): readonly ParameterShape[] => {
    if (name === null) return [];
    const weight: ParameterShape = {
      name: `${name}.weight`,
      shape: [size],
      fresh: norm.weightOffset === 1 ? 'zeros' : 'ones',
    };
    return norm.kind === 'rms' ? [weight] : [weight, { name: `${name}.bias`, shape: [size], fresh: 'zeros' }];
  };
  const positions = positionsName(shape);
  const linears = linearShapes(shape)
    .filter((linear) => !(linear.isOutput && shape.tiedHead))
    .flatMap(({ name, inFeatures, outFeatures, bias, isOutput }): readonly ParameterShape[] => [
      {
        name: `${name}.weight`,
        shape: fanInFanOut && !isOutput ? [inFeatures, outFeatures] : [outFeatures, inFeatures],
        fresh: 'random',
      },
      ...(bias ? [{ name: `${name}.bias`, shape: [outFeatures], fresh: 'zeros' } as const] : []),
    ]);
  const norms = shape.layers.flatMap((_, index) => {
    const names = layerNames(shape, index);
    const ofHeads = shape.queryKeyNorm ? [...normOf(names.queryNorm, headDim), ...normOf(names.keyNorm, headDim)] : [];
    return [names.beforeAttention, names.afterAttention, names.beforeMlp, names.afterMlp]
      .flatMap((name) => normOf(name, hiddenSize))
      .concat(ofHeads);
  });
  return [
    table(embeddingName(shape), shape.vocabularySize),
    ...(positions === null ? [] : [table(positions, shape.maxLength)]),
    ...linears,
    ...norms,
    ...normOf(finalNormName(shape), hiddenSize),
  ];
}
