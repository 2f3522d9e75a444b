import { ownValue } from '@whetstone/core/util';
import type { ConfigReader } from './config-reader.js';
import type { Rope } from './shape.js';

/**
 * Reads the rotary frequencies of one layer type from a flat record of `rope_theta`, `rope_type`, `factor` and so on.
 * Types: default, linear (Chen et al. 2023), dynamic (NTK-aware, by length), llama3, yarn (Peng et al. 2023) and
 * longrope (Ding et al. 2024).
 *
 * @param headDim Features per head.
 * @param maxLength `max_position_embeddings`.
 */
export function readRope(reader: ConfigReader, headDim: number, maxLength: number): Rope {
  const kind = reader.optionalText('rope_type') ?? reader.optionalText('type') ?? 'default';
  const theta = reader.number('rope_theta', 10_000);
  const written = Math.floor(headDim * reader.number('partial_rotary_factor', 1));
  const most = Math.max(2, headDim);
  const isValid = written % 2 === 0 && written >= 2 && written <= most;
  if (!isValid)
    reader.problem('partial_rotary_factor', `an even number of rotated features, from 2 to ${most}`, String(written));
  const rotated = isValid ? written : 2;
  const make = ownValue(kinds, kind === 'su' ? 'longrope' : kind);
  if (make === undefined) {
    reader.problem('rope_type', `one of ${Object.keys(kinds).join(', ')}`, JSON.stringify(kind));
    return { rotated, attentionFactor: 1, frequencies: () => new Float32Array(rotated / 2) };
  }
  return { rotated, ...make({ reader, theta, rotated, maxLength }) };
}

interface RopeInputs {
  readonly reader: ConfigReader;
  readonly theta: number;
  readonly rotated: number;
  readonly maxLength: number;
}

type RopeKind = (inputs: RopeInputs) => Omit<Rope, 'rotated'>;

/** Returns θ^(−2i ÷ rotated) for every rotated pair i. */
function baseFrequencies(theta: number, rotated: number): Float32Array {
  return Float32Array.from({ length: rotated / 2 }, (_, pair) => theta ** ((-2 * pair) / rotated));
}

const fixed = (frequencies: Float32Array, attentionFactor = 1): Omit<Rope, 'rotated'> => ({
  attentionFactor,
  frequencies: () => frequencies,
});

const kinds: Readonly<Record<string, RopeKind>> = {
  default: ({ theta, rotated }) => fixed(baseFrequencies(theta, rotated)),

  linear({ reader, theta, rotated }) {
    const factor = reader.number('factor');
    return fixed(baseFrequencies(theta, rotated).map((frequency) => frequency / factor));
  },

  dynamic({ reader, theta, rotated, maxLength }) {
    const factor = reader.number('factor');
    return {
      attentionFactor: 1,
      frequencies(length) {
        const stretch = (factor * Math.max(length, maxLength)) / maxLength - (factor - 1);
        return baseFrequencies(theta * stretch ** (rotated / (rotated - 2)), rotated);
      },
    };
  },

  llama3({ reader, theta, rotated, maxLength }) {
    const factor = reader.number('factor');
    const low = reader.number('low_freq_factor');
    const high = reader.number('high_freq_factor');
    const original = reader.number('original_max_position_embeddings', maxLength);
    return fixed(
      baseFrequencies(theta, rotated).map((frequency) => {
        const turns = (original * frequency) / (2 * Math.PI);
        if (turns < low) return frequency / factor;
        if (turns > high) return frequency;
        const smooth = (turns - low) / (high - low);
        return ((1 - smooth) * frequency) / factor + smooth * frequency;
      }),
    );
  },

  yarn({ reader, theta, rotated, maxLength }) {
    const original = reader.number('original_max_position_embeddings', maxLength);
    const factor = reader.optionalNumber('factor') ?? maxLength / original;
    const magnitude = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
    const mscale = reader.optionalNumber('mscale');
    const mscaleAll = reader.optionalNumber('mscale_all_dim');
    const attentionFactor =
      reader.optionalNumber('attention_factor') ??
      (mscale && mscaleAll ? magnitude(mscale) / magnitude(mscaleAll) : magnitude(1));
    // The pair that makes `turns` full rotations over the original length.
    const pairOf = (turns: number): number =>
      (rotated * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
    const truncate = reader.flag('truncate', true);
    const first = pairOf(reader.optionalNumber('beta_fast') ?? 32);
    const last = pairOf(reader.optionalNumber('beta_slow') ?? 1);
    const from = Math.max(truncate ? Math.floor(first) : first, 0);
    const to = Math.min(truncate ? Math.ceil(last) : last, rotated - 1);
    const span = from === to ? 0.001 : to - from;
    const frequencies = baseFrequencies(theta, rotated).map((frequency, pair) => {
      const interpolated = Math.min(Math.max((pair - from) / span, 0), 1);
      return (frequency / factor) * interpolated + frequency * (1 - interpolated);
    });
    return fixed(frequencies, attentionFactor);
  },

  longrope({ reader, theta, rotated, maxLength }) {
    const original = reader.number('original_max_position_embeddings', maxLength);
    const factor = reader.optionalNumber('factor') ?? maxLength / original;
    const attentionFactor =
      reader.optionalNumber('attention_factor') ??
      (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
    const scaled = (key: string): Float32Array => {
      const factors = reader.numbers(key, rotated / 2);
      return baseFrequencies(theta, rotated).map((frequency, pair) => frequency / (factors[pair] ?? 1));
    };
    const short = scaled('short_factor');
    const long = scaled('long_factor');
    return { attentionFactor, frequencies: (length) => (length > original ? long : short) };
  },
};
