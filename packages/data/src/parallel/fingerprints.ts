import type { Fingerprint } from '../transforms/duplicates/finder.js';
import { SIGNATURE_VALUES } from '../transforms/duplicates/min-hash.js';
import { arrayAt, joinArrays, type JoinedArrays } from './joined-arrays.js';

/** Fingerprints of many conversations as typed arrays, which can be transferred between threads without a copy. */
export interface PackedFingerprints {
  readonly hashes: Float64Array;
  /** Signatures end to end; empty if only exact duplicates are searched for. */
  readonly signatures: Uint32Array;
  readonly sketches: JoinedArrays;
}

export function packFingerprints(fingerprints: readonly Fingerprint[]): PackedFingerprints {
  const sets = fingerprints.flatMap(({ set }) => set ?? []);
  const signatures = new Uint32Array(sets.length * SIGNATURE_VALUES);
  for (const [index, { signature }] of sets.entries()) signatures.set(signature, index * SIGNATURE_VALUES);
  return {
    hashes: Float64Array.from(fingerprints, ({ hash }) => hash),
    signatures,
    sketches: joinArrays(sets.map(({ sketch }) => sketch)),
  };
}

/** Returns the fingerprint of conversation `index`, as views into the packed arrays. */
export function fingerprintAt({ hashes, signatures, sketches }: PackedFingerprints, index: number): Fingerprint {
  const hash = hashes[index] ?? 0;
  if (signatures.length === 0) return { hash, set: null };
  const signature = signatures.subarray(index * SIGNATURE_VALUES, (index + 1) * SIGNATURE_VALUES);
  return { hash, set: { signature, sketch: arrayAt(sketches, index) } };
}

export const fingerprintBuffers = ({
  hashes,
  signatures,
  sketches,
}: PackedFingerprints): readonly ArrayBufferView[] => [hashes, signatures, sketches.values, sketches.ends];
