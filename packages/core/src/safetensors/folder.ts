import { join, basename } from 'node:path';
import { WhetstoneError, type Problem } from '../contract/index.js';
import { fileError } from '../files/errors.js';
import { isFile } from '../files/present.js';
import { readText } from '../files/regular.js';
import { writeText } from '../files/write.js';
import type { TensorEntry } from './header.js';
import { openSafetensors, type TensorReader } from './read.js';
import { byteSize, writeSafetensors, type TensorToWrite } from './write.js';

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';

/**
 * Opens the weights of a model folder: `model.safetensors`, or all shards that `model.safetensors.index.json` names.
 *
 * @throws `MODEL_NOT_FOUND` if the folder contains neither file
 * @throws `SAFETENSORS_INVALID` if the index or a shard is invalid
 */
export async function openWeights(folder: string): Promise<TensorReader> {
  const single = join(folder, SINGLE_FILE);
  if (await isFile(single)) return openSafetensors(single);
  const index = join(folder, INDEX_FILE);
  if (await isFile(index)) return openSharded(folder, index);
  throw new WhetstoneError('MODEL_NOT_FOUND', `The folder contains neither ${SINGLE_FILE} nor ${INDEX_FILE}.`, {
    place: { file: folder },
    hint: 'Convert weights in pytorch_model.bin to safetensors, or import a GGUF file.',
  });
}

async function openSharded(folder: string, index: string): Promise<TensorReader> {
  const shardNames = await readIndex(index);
  const shards = new Map<string, TensorReader>();
  try {
    for (const shard of new Set(shardNames.values())) shards.set(shard, await openSafetensors(join(folder, shard)));
    return joinShards(index, shardNames, shards);
  } catch (error) {
    for (const reader of shards.values()) await reader.close();
    throw error;
  }
}

/**
 * Returns the shard file of each tensor, as the index lists them.
 *
 * @throws `SAFETENSORS_INVALID` if the index is invalid or names a shard outside the folder
 */
async function readIndex(index: string): Promise<ReadonlyMap<string, string>> {
  const bad = (message: string): WhetstoneError =>
    new WhetstoneError('SAFETENSORS_INVALID', message, { place: { file: index } });
  let json: unknown;
  try {
    json = JSON.parse(await readText(index));
  } catch (cause) {
    if (cause instanceof SyntaxError) throw bad(`The index is not JSON: ${cause.message}.`);
    throw fileError(cause, index);
  }
  const map: unknown = typeof json === 'object' && json !== null && 'weight_map' in json ? json.weight_map : undefined;
  if (typeof map !== 'object' || map === null) throw bad('The index has no weight_map.');
  const result = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || basename(shard) !== shard || shard === '..')
      throw bad(`The shard of ${name} is not a file name: ${JSON.stringify(shard)}.`);
    result.set(name, shard);
  }
  return result;
}

/**
 * Adds the tensors of the shards that the index does not list: as in transformers, the index only names the shards.
 * Returns a problem for each that is in several shards.
 */
function addUnlisted(
  index: string,
  shardNames: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, TensorReader>,
  tensors: Map<string, TensorEntry>,
  owners: Map<string, TensorReader>,
): readonly Problem[] {
  const problems: Problem[] = [];
  for (const [shard, reader] of shards)
    for (const [name, entry] of reader.tensors) {
      if (shardNames.has(name)) continue;
      if (owners.has(name))
        problems.push({
          message: `Several shards contain the tensor, which the index does not list. One of them is ${shard}.`,
          place: { file: index, tensor: name },
        });
      tensors.set(name, entry);
      owners.set(name, reader);
    }
  return problems;
}

function joinShards(
  index: string,
  shardNames: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, TensorReader>,
): TensorReader {
  const tensors = new Map<string, TensorEntry>();
  const owners = new Map<string, TensorReader>();
  const problems: Problem[] = [];
  for (const [name, shard] of shardNames) {
    const reader = shards.get(shard);
    const entry = reader?.tensors.get(name);
    if (reader === undefined || entry === undefined) {
      problems.push({
        message: `The index lists the tensor in ${shard}, which does not contain it.`,
        place: { file: index, tensor: name },
      });
    } else {
      tensors.set(name, entry);
      owners.set(name, reader);
    }
  }
  problems.push(...addUnlisted(index, shardNames, shards, tensors, owners));
  if (problems.length > 0) {
    throw new WhetstoneError('SAFETENSORS_INVALID', `The index and the shards differ in ${problems.length} tensors.`, {
      place: { file: index },
      problems,
    });
  }
  const ownerOf = (name: string): TensorReader => {
    const reader = owners.get(name);
    if (reader === undefined)
      throw new WhetstoneError('MODEL_TENSOR_MISSING', 'No shard contains the tensor.', {
        place: { file: index, tensor: name },
      });
    return reader;
  };
  return {
    tensors,
    metadata: [...shards.values()][0]?.metadata ?? {},
    fileOf: (name) => owners.get(name)?.fileOf(name) ?? index,
    readFloat32: async (name) => ownerOf(name).readFloat32(name),
    readFloat32Into: async (name, target) => ownerOf(name).readFloat32Into(name, target),
    readBytesInto: async (name, target) => ownerOf(name).readBytesInto(name, target),
    read: async (name) => ownerOf(name).read(name),
    close: async () => {
      for (const reader of shards.values()) await reader.close();
    },
  };
}

/**
 * Writes the weights of a model: one `model.safetensors`, or shards of at most `maxShardBytes` with an index. Each file
 * is written atomically, the index last.
 *
 * @param options.maxShardBytes 5 GB by default, as in transformers
 * @throws the errors of {@link writeSafetensors}
 */
export async function writeWeights(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  options: { readonly maxShardBytes?: number } = {},
): Promise<void> {
  const shards = splitIntoShards([...tensors], options.maxShardBytes ?? 5e9);
  const [only] = shards;
  if (shards.length <= 1) return writeSafetensors(join(folder, SINGLE_FILE), only ?? []);
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const [position, shard] of shards.entries()) {
    const number = (n: number): string => String(n).padStart(5, '0');
    const name = `model-${number(position + 1)}-of-${number(shards.length)}.safetensors`;
    await writeSafetensors(join(folder, name), shard);
    for (const tensor of shard) {
      weightMap[tensor.name] = name;
      totalSize += byteSize(tensor);
    }
  }
  const index = JSON.stringify({ metadata: { total_size: totalSize }, weight_map: weightMap }, null, 2);
  await writeText(join(folder, INDEX_FILE), `${index}\n`);
}

function splitIntoShards(tensors: readonly TensorToWrite[], maxShardBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [];
  let bytes = Infinity;
  for (const tensor of tensors) {
    const size = byteSize(tensor);
    if (bytes + size > maxShardBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)?.push(tensor);
    bytes += size;
  }
  return shards;
}
