import type { Fingerprint, SingleFingerprint, UnitFingerprint } from '../transforms/duplicates/finder.js';
import { SIGNATURE_VALUES } from '../transforms/duplicates/min-hash.js';
import { arrayAt, joinArrays, type JoinedArrays } from './joined-arrays.js';

/** Fingerprints of many texts as typed arrays, which can be transferred between threads without a copy. */
interface PackedTexts {
  readonly hashes: Float64Array;
  /** Signatures end to end; empty if only exact duplicates are searched for. */
  readonly signatures: Uint32Array;
  readonly sketches: JoinedArrays;
}

/** Fingerprints of many conversations as typed arrays. */
export interface PackedFingerprints extends PackedTexts {
  /** The exchanges and long replies of all conversations, end to end; null if there are none. */
  readonly units: {
    /** The number of units up to the end of each conversation. */
    readonly ends: Int32Array;
    /** 1 for a reply, 0 for an exchange. */
    readonly isReply: Uint8Array;
    readonly texts: PackedTexts;
  } | null;
}

function packTexts(fingerprints: readonly SingleFingerprint[]): PackedTexts {
  const sets = fingerprints.flatMap(({ set }) => set ?? []);
  const signatures = new Uint32Array(sets.length * SIGNATURE_VALUES);
  for (const [index, { signature }] of sets.entries()) signatures.set(signature, index * SIGNATURE_VALUES);
  return {
    hashes: Float64Array.from(fingerprints, ({ hash }) => hash),
    signatures,
    sketches: joinArrays(sets.map(({ sketch }) => sketch)),
  };
}

export function packFingerprints(fingerprints: readonly Fingerprint[]): PackedFingerprints {
  const units = fingerprints.flatMap((fingerprint) => fingerprint.units ?? []);
  let end = 0;
  return {
    ...packTexts(fingerprints),
    units:
      units.length === 0
        ? null
        : {
            ends: Int32Array.from(fingerprints, (fingerprint) => (end += fingerprint.units?.length ?? 0)),
            isReply: Uint8Array.from(units, ({ kind }) => (kind === 'reply' ? 1 : 0)),
            texts: packTexts(units),
          },
  };
}

function textAt({ hashes, signatures, sketches }: PackedTexts, index: number): SingleFingerprint {
  const hash = hashes[index] ?? 0;
  if (signatures.length === 0) return { hash, set: null };
  const signature = signatures.subarray(index * SIGNATURE_VALUES, (index + 1) * SIGNATURE_VALUES);
  return { hash, set: { signature, sketch: arrayAt(sketches, index) } };
}

/** Returns the fingerprint of conversation `index`, as views into the packed arrays. */
export function fingerprintAt(packed: PackedFingerprints, index: number): Fingerprint {
  const whole = textAt(packed, index);
  if (packed.units === null) return whole;
  const { ends, isReply, texts } = packed.units;
  const [start, end] = [index === 0 ? 0 : (ends[index - 1] ?? 0), ends[index] ?? 0];
  const units = Array.from({ length: end - start }, (_, number): UnitFingerprint => {
    const at = start + number;
    return { kind: isReply[at] === 1 ? 'reply' : 'exchange', ...textAt(texts, at) };
  });
  return { ...whole, units };
}

const textBuffers = ({ hashes, signatures, sketches }: PackedTexts): readonly ArrayBufferView[] => [
  hashes,
  signatures,
  sketches.values,
  sketches.ends,
];

export const fingerprintBuffers = (packed: PackedFingerprints): readonly ArrayBufferView[] => [
  ...textBuffers(packed),
  ...(packed.units === null ? [] : [packed.units.ends, packed.units.isReply, ...textBuffers(packed.units.texts)]),
];
