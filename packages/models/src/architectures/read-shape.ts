import { WhetstoneError, type Json } from '@whetstone/core/contract';
import { activationNames, type ActivationName } from '@whetstone/core/ops';
import { configReader, type ConfigReader, type ConfigRecord } from './config-reader.js';
import { readRope } from './rope.js';
import type { DecoderShape, LayerShape, Rope } from './shape.js';
import { architectures, type ArchitectureSpec } from './specs/index.js';
import { isRecord } from '@whetstone/core/util';

/**
 * Reads the decoder shape that a config.json describes.
 *
 * @param file Path of config.json, for errors.
 * @param known The supported architectures by `model_type`.
 * @throws `MODEL_ARCHITECTURE_UNKNOWN` if `model_type` is not supported; lists the supported ones
 * @throws `MODEL_CONFIG_INVALID` if fields are invalid; lists all of them
 */
export function readShape(
  config: ConfigRecord,
  file = 'config.json',
  known: ReadonlyMap<string, ArchitectureSpec> = architectures,
): DecoderShape {
  const spec = specOf(config, file, known);
  const { reader, check } = configReader(withDefaults(spec, config), file);
  const hiddenSize = reader.size('hidden_size');
  const heads = reader.size('num_attention_heads');
  const keyValueHeads = reader.size('num_key_value_heads', heads);
  const headDim = reader.size('head_dim', Math.max(1, Math.floor(hiddenSize / heads)));
  const maxLength = reader.size('max_position_embeddings', undefined, Number.MAX_SAFE_INTEGER);
  if (heads % keyValueHeads !== 0)
    reader.problem('num_key_value_heads', `a divisor of num_attention_heads (${heads})`, String(keyValueHeads));
  const ropes = readRopes(spec, reader, headDim, maxLength);
  const biasOf = (decidedBy: boolean | string): boolean =>
    typeof decidedBy === 'boolean' ? decidedBy : reader.flag(decidedBy, false);
  const shape: DecoderShape = {
    architecture: spec.modelType,
    vocabularySize: reader.size('vocab_size'),
    hiddenSize,
    intermediateSize: reader.size('intermediate_size', spec.names.gateUp.kind === 'plain' ? 4 * hiddenSize : undefined),
    heads,
    keyValueHeads,
    headDim,
    maxLength,
    layers: readLayers(spec, reader, headDim),
    norm: { ...spec.norm, epsilon: reader.number('rms_norm_eps') },
    queryKeyNorm: spec.queryKeyNorm ?? false,
    activation: readActivation(spec, reader),
    ropes,
    attentionSoftCap: reader.optionalNumber('attn_logit_softcapping'),
    logitSoftCap: reader.optionalNumber('final_logit_softcapping'),
    embeddingScale: spec.scaledEmbedding === true ? Math.sqrt(hiddenSize) : 1,
    tiedHead: reader.flag('tie_word_embeddings', false),
    biases: {
      queryKeyValue: biasOf(spec.biases.queryKeyValue),
      attentionOutput: biasOf(spec.biases.attentionOutput),
      gateUp: biasOf(spec.biases.gateUp),
      down: biasOf(spec.biases.down),
    },
    fanInFanOut: spec.fanInFanOut ?? false,
    names: spec.names,
    initializerRange: reader.number('initializer_range', 0.02),
  };
  check();
  return shape;
}

function readActivation(
  { activationAliases = {}, defaultActivation }: ArchitectureSpec,
  reader: ConfigReader,
): ActivationName {
  const name = reader.choice('hidden_act', activationNames, defaultActivation);
  return activationAliases[name] ?? name;
}

function specOf(config: ConfigRecord, file: string, known: ReadonlyMap<string, ArchitectureSpec>): ArchitectureSpec {
  const modelType = config['model_type'];
  const spec = typeof modelType === 'string' ? known.get(modelType) : undefined;
  if (spec !== undefined) return spec;
  throw new WhetstoneError(
    'MODEL_ARCHITECTURE_UNKNOWN',
    modelType === undefined
      ? 'config.json does not name the architecture of the model.'
      : "The model's architecture is not supported.",
    {
      place: { file, path: 'model_type' },
      expected: `one of ${[...known.keys()].join(', ')}`,
      found: modelType === undefined ? 'nothing' : JSON.stringify(modelType),
    },
  );
}

/** Returns config.json with the usual field names and the defaults of the architecture. */
function withDefaults(spec: ArchitectureSpec, config: ConfigRecord): ConfigRecord {
  // A map, because the assignment of a key such as `__proto__` to an object would change its prototype.
  const merged = new Map<string, Json>(Object.entries(spec.defaults ?? {}));
  for (const [key, value] of Object.entries(config))
    if (value !== null || !merged.has(key) || mayBeNull.has(key)) merged.set(key, value);
  for (const [usual, own] of Object.entries(spec.renamed ?? {})) {
    const value = merged.get(own);
    if (value !== undefined && value !== null) merged.set(usual, value);
  }
  return Object.fromEntries(merged);
}

/** Fields in which null means "none" instead of "the default". */
const mayBeNull = new Set(['sliding_window', 'attn_logit_softcapping', 'final_logit_softcapping']);

/** Far more layers than any model has. The check is needed because layers are created before weights are read. */
const maxLayers = 10_000;

function readLayers(spec: ArchitectureSpec, reader: ConfigReader, headDim: number): readonly LayerShape[] {
  const written = reader.size('num_hidden_layers', undefined, Number.MAX_SAFE_INTEGER);
  if (written > maxLayers) reader.problem('num_hidden_layers', `at most ${maxLayers}`, String(written));
  const count = Math.min(written, maxLayers);
  const types = readLayerTypes(spec, reader, count);
  const window = types.includes('sliding_attention')
    ? reader.size('sliding_window', undefined, Number.MAX_SAFE_INTEGER)
    : null;
  const base = spec.attentionScale === 'head dim' ? headDim : reader.number('query_pre_attn_scalar');
  const scaled = reader.flag('scale_attn_weights', true) ? base ** -0.5 : 1;
  const byLayer = reader.flag('scale_attn_by_inverse_layer_idx', false);
  return types.map((type, layer) => ({
    window: type === 'sliding_attention' ? window : null,
    rope: spec.rope === 'none' ? null : spec.rope === 'by layer type' && type === 'sliding_attention' ? 1 : 0,
    attentionScale: byLayer ? scaled / (layer + 1) : scaled,
  }));
}

type LayerType = 'full_attention' | 'sliding_attention';

/** Returns the attention type of each layer: from `layer_types`, or else by the rule of the architecture. */
function readLayerTypes(spec: ArchitectureSpec, reader: ConfigReader, count: number): readonly LayerType[] {
  const { sliding } = spec;
  const { record } = reader;
  if (typeof sliding === 'string') {
    const all = sliding === 'all' && record['sliding_window'] !== null && record['sliding_window'] !== undefined;
    return Array.from({ length: count }, () => (all ? 'sliding_attention' : 'full_attention'));
  }
  const listed = record['layer_types'];
  if (listed === undefined || listed === null) {
    return Array.from({ length: count }, (_, layer) =>
      sliding(layer, record) ? 'sliding_attention' : 'full_attention',
    );
  }
  if (
    Array.isArray(listed) &&
    listed.length === count &&
    listed.every((type) => type === 'full_attention' || type === 'sliding_attention')
  ) {
    return listed as readonly LayerType[];
  }
  reader.problem(
    'layer_types',
    `${count} times full_attention or sliding_attention`,
    JSON.stringify(listed).slice(0, 120),
  );
  return Array.from({ length: count }, () => 'full_attention');
}

/**
 * Reads the rotary tables from either notation: `rope_parameters` (flat, or one record per layer type), or the
 * top-level fields `rope_theta`, `rope_scaling`, `partial_rotary_factor` and `rope_local_base_freq`. Table 0 is for
 * layers with full attention; table 1, if the architecture has it, for layers with sliding windows.
 */
function readRopes(spec: ArchitectureSpec, reader: ConfigReader, headDim: number, maxLength: number): readonly Rope[] {
  if (spec.rope === 'none') return [];
  const { record } = reader;
  const shared = pick(record, ['rope_theta', 'partial_rotary_factor', 'original_max_position_embeddings']);
  const local: ConfigRecord = { rope_theta: record['rope_local_base_freq'] ?? 10_000 };
  const parameters = record['rope_parameters'];
  const scaling = record['rope_scaling'];
  const read = (path: string, own: ConfigRecord, defaults: ConfigRecord): Rope =>
    readRope(reader.nested(path, { ...defaults, ...withoutNull(own) }), headDim, maxLength);
  if (isRecord(parameters) && isRecord(parameters['full_attention'])) {
    const full = read('rope_parameters.full_attention', parameters['full_attention'], shared);
    if (spec.rope === 'one') return [full];
    const sliding = parameters['sliding_attention'];
    return [full, read('rope_parameters.sliding_attention', isRecord(sliding) ? sliding : {}, local)];
  }
  const [path, own] = isRecord(parameters)
    ? ['rope_parameters', parameters]
    : ['rope_scaling', isRecord(scaling) ? scaling : {}];
  const full = read(path, own, shared);
  return spec.rope === 'one' ? [full] : [full, read('rope_local_base_freq', {}, local)];
}

const withoutNull = (record: ConfigRecord): ConfigRecord =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null));
const pick = (record: ConfigRecord, keys: readonly string[]): ConfigRecord =>
  withoutNull(Object.fromEntries(keys.map((key) => [key, record[key] ?? null])));
