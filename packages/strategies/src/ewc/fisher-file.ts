import { keep, tensor, type Tensor } from '@tensorflow/tfjs-core';
import { WhetstoneError, type Problem } from '@whetstone/core/contract';
import { checkFormatVersion } from '@whetstone/core/files';
import { openSafetensors, writeSafetensors, type TensorReader } from '@whetstone/core/safetensors';
import type { Consolidation } from './consolidation.js';

/** A task whose Fisher information is in the file. */
export interface FisherTask {
  /** Hash of the data from which it was estimated. */
  readonly contentHash: string;
  readonly samples: number;
  readonly batchSize: number;
  /** Seed with which the samples were drawn. */
  readonly seed: number;
}

/** The origin of a Fisher file. */
export interface FisherProvenance {
  readonly model: string | null;
  /** Oldest first; the file contains the sum of their information. */
  readonly tasks: readonly FisherTask[];
}

const prefixes = { fisher: 'fisher.', anchor: 'anchor.' } as const;
const provenanceKey = 'whetstone.ewc';
const FORMAT_VERSION = 1;

/** Writes Fisher information and anchor to a safetensors file, with their provenance in the metadata. */
export async function writeFisherFile(
  file: string,
  { fisher, anchor }: Consolidation,
  provenance: FisherProvenance,
): Promise<void> {
  const entries = (prefix: string, tensors: ReadonlyMap<string, Tensor>) =>
    [...tensors].map(([name, value]) => ({
      name: prefix + name,
      dtype: 'F32' as const,
      shape: value.shape,
      data: async () => Float32Array.from(await value.data()),
    }));
  await writeSafetensors(file, [...entries(prefixes.fisher, fisher), ...entries(prefixes.anchor, anchor)], {
    format: 'pt',
    [provenanceKey]: JSON.stringify({ version: FORMAT_VERSION, ...provenance }),
  });
}

/** Performs the checks of {@link readFisherFile} without reading tensors. */
export async function checkFisherFile(file: string, shapes: ReadonlyMap<string, readonly number[]>): Promise<void> {
  const reader = await openSafetensors(file);
  try {
    checkHeader(file, reader, shapes);
  } finally {
    await reader.close();
  }
}

/**
 * Reads a Fisher file for weights with the given shapes; additional tensors are ignored. The caller owns the tensors.
 *
 * @throws `CHECKPOINT_INVALID` if it is not a Fisher file, or belongs to another model; lists all differing parameters
 * @throws `VERSION_UNSUPPORTED` if a later version wrote it
 */
export async function readFisherFile(
  file: string,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<{ readonly consolidation: Consolidation; readonly provenance: FisherProvenance }> {
  const reader = await openSafetensors(file);
  try {
    const provenance = checkHeader(file, reader, shapes);
    const read = async (prefix: string): Promise<Map<string, Tensor>> => {
      const result = new Map<string, Tensor>();
      for (const [name, shape] of shapes)
        result.set(name, keep(tensor(await reader.readFloat32(prefix + name), [...shape])));
      return result;
    };
    return { consolidation: { fisher: await read(prefixes.fisher), anchor: await read(prefixes.anchor) }, provenance };
  } finally {
    await reader.close();
  }
}

function checkHeader(
  file: string,
  reader: TensorReader,
  shapes: ReadonlyMap<string, readonly number[]>,
): FisherProvenance {
  const provenance = parseProvenance(file, reader.metadata[provenanceKey]);
  const problems: Problem[] = [];
  for (const [name, shape] of shapes) {
    for (const prefix of Object.values(prefixes)) {
      const found = reader.tensors.get(prefix + name)?.shape;
      if (found !== undefined && found.join() === shape.join()) continue;
      problems.push({
        message: found === undefined ? 'A parameter is missing.' : 'A parameter has the wrong shape.',
        place: { file, tensor: prefix + name },
        expected: `[${shape.join(', ')}]`,
        found: found === undefined ? 'nothing' : `[${found.join(', ')}]`,
      });
    }
  }
  if (problems.length === 0) return provenance;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    'The Fisher file belongs to another model, or to another selection of trained parameters.',
    { place: { file }, found: `created for ${provenance.model ?? 'a model without a folder'}`, problems },
  );
}

function parseProvenance(file: string, text: string | undefined): FisherProvenance {
  let parsed: Partial<FisherProvenance> & { readonly version?: unknown } = {};
  try {
    parsed = JSON.parse(text ?? '') as typeof parsed;
  } catch {
    // reported below
  }
  if (text !== undefined)
    checkFormatVersion({ file, what: 'The Fisher file', found: parsed.version, supported: FORMAT_VERSION });
  if (Array.isArray(parsed.tasks)) return { model: parsed.model ?? null, tasks: parsed.tasks };
  throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not a Fisher file: its metadata lack the provenance.', {
    place: { file },
  });
}
