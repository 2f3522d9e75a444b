import type { Fingerprint } from '../transforms/duplicates/finder.js';
import { SIGNATURE_VALUES } from '../transforms/duplicates/min-hash.js';

/** Fingerprints of many conversations as typed arrays, which threads hand over without a copy. */
export interface PackedFingerprints {
  readonly hashes: Float64Array;
  /** Signatures end to end; empty where only equal conversations are looked for. */
  readonly signatures: Uint32Array;
  /** Sketches end to end, and the end of each. */
  readonly sketches: Uint32Array;
  readonly sketchEnds: Int32Array;
}

export function packFingerprints(fingerprints: readonly Fingerprint[]): PackedFingerprints {
  const sets = fingerprints.flatMap(({ set }) => set ?? []);
  const signatures = new Uint32Array(sets.length * SIGNATURE_VALUES);
  const sketches = new Uint32Array(sets.reduce((sum, { sketch }) => sum + sketch.length, 0));
  const sketchEnds = new Int32Array(sets.length);
  let end = 0;
  for (const [index, { signature, sketch }] of sets.entries()) {
    signatures.set(signature, index * SIGNATURE_VALUES);
    sketches.set(sketch, end);
    end += sketch.length;
    sketchEnds[index] = end;
  }
  return { hashes: Float64Array.from(fingerprints, ({ hash }) => hash), signatures, sketches, sketchEnds };
}

/** The fingerprint of a conversation: views into the packed ones. */
export function fingerprintAt({ hashes, signatures, sketches, sketchEnds }: PackedFingerprints, index: number): Fingerprint {
  const hash = hashes[index] ?? 0;
  if (signatures.length === 0) return { hash, set: null };
  const signature = signatures.subarray(index * SIGNATURE_VALUES, (index + 1) * SIGNATURE_VALUES);
  return { hash, set: { signature, sketch: sketches.subarray(index === 0 ? 0 : sketchEnds[index - 1], sketchEnds[index]) } };
}

export const fingerprintBuffers = ({ hashes, signatures, sketches, sketchEnds }: PackedFingerprints): readonly ArrayBufferView[] => [hashes, signatures, sketches, sketchEnds];
