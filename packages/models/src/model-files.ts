import { basename, join } from 'node:path';
import { isWhetstoneError, WhetstoneError, type Json, type Problem } from '@whetstone/core/contract';
import { isFile, readJsonObject } from '@whetstone/core/files';
import { openWeights, withoutPrefix, withoutWrappers, type TensorReader } from '@whetstone/core/safetensors';
import { parameterShapes, readShape, type ArchitectureSpec, type DecoderShape } from './architectures/index.js';
import { embeddingName, HEAD_NAME } from './architectures/parameters.js';
import { describedQuantization, quantizationOf, quantizedError, withoutQuantization } from './quantized-folder.js';

/** The files of a model, whose tensors match its architecture. */
export interface ModelFiles {
  readonly shape: DecoderShape;
  /** The contents of config.json; corrected if the weights contradict it. */
  readonly config: Readonly<Record<string, Json>>;
  readonly reader: TensorReader;
  /** The name of the stored tensor of each parameter. */
  readonly stored: ReadonlyMap<string, string>;
}

/**
 * Opens the files of a model folder and matches names and shapes of the tensors with the architecture. Reads no
 * weights, except to compare a tied head with the embedding if both are stored. The caller closes the reader.
 *
 * @param onNotice receives messages about what was read differently from how it is written
 */
export async function openModelFiles(
  folder: string,
  known: ReadonlyMap<string, ArchitectureSpec>,
  onNotice: (message: string) => void,
): Promise<ModelFiles> {
  const config = await readConfig(folder);
  const shape = readShape(config, join(folder, 'config.json'), known);
  const reader = await openFiles(folder, config);
  try {
    const unwrapped = withoutPrefix(withoutWrappers(reader, onNotice), possibleNames(shape), onNotice);
    return await matchFiles(folder, config, shape, unwrapped, onNotice);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/**
 * Opens the weights of a model.
 *
 * @throws `MODEL_QUANTIZED` if there are no safetensors, and config.json describes quantised weights in other files
 */
async function openFiles(folder: string, config: Readonly<Record<string, Json>>): Promise<TensorReader> {
  try {
    return await openWeights(folder);
  } catch (error) {
    const quantization = describedQuantization(config);
    const isMissing = isWhetstoneError(error) && error.code === 'MODEL_NOT_FOUND';
    throw isMissing && quantization !== null ? quantizedError(folder, quantization) : error;
  }
}

/** Returns the names that the tensors of a model may have: with the prefix of its architecture first, then without. */
function possibleNames(shape: DecoderShape): readonly string[] {
  const names = [...parameterShapes(shape).map(({ name }) => name), `${HEAD_NAME}.weight`];
  const prefix = `${shape.names.prefix}.`;
  return [...names, ...names.flatMap((name) => (name.startsWith(prefix) ? [name.slice(prefix.length)] : []))];
}

async function matchFiles(
  folder: string,
  config: Readonly<Record<string, Json>>,
  written: DecoderShape,
  reader: TensorReader,
  onNotice: (message: string) => void,
): Promise<ModelFiles> {
  const { shape, stored, problems } = await matchTensors(folder, written, reader);
  const quantization = quantizationOf(config, reader, stored.values(), problems.length > 0);
  if (quantization !== null) throw quantizedError(folder, quantization);
  if (problems.length > 0) throw mismatchError(folder, shape, problems);
  const plain = withoutQuantization(config);
  if (Object.keys(plain).length < Object.keys(config).length)
    onNotice('config.json describes a quantisation, but the weights are not quantised. The description is ignored.');
  if (shape.tiedHead === written.tiedHead) return { shape, config: plain, reader, stored };
  onNotice(
    'config.json says that the head shares the weight of the embedding (tie_word_embeddings), but the stored head ' +
      'differs. The stored head is used.',
  );
  return { shape, config: { ...plain, tie_word_embeddings: false }, reader, stored };
}

/**
 * Reads config.json of a model folder.
 *
 * @throws `MODEL_NOT_FOUND` if the file is missing
 * @throws `MODEL_CONFIG_INVALID` if it is not a JSON object
 */
async function readConfig(folder: string): Promise<Readonly<Record<string, Json>>> {
  const file = join(folder, 'config.json');
  return readJsonObject(file, {
    missing: async (cause) => {
      return new WhetstoneError('MODEL_NOT_FOUND', 'The folder does not contain a model: config.json is missing.', {
        place: { file: folder },
        hint:
          (await isFile(folder)) && basename(folder).endsWith('.gguf')
            ? 'The command `import`, or `importGguf` of @whetstone/models, converts a GGUF file into a model folder.'
            : 'Use the path of the folder that contains config.json and the weights.',
        cause,
      });
    },
    invalid: (message, cause) =>
      new WhetstoneError('MODEL_CONFIG_INVALID', `config.json ${message}`, { place: { file }, cause }),
  });
}

/** Tensors in older checkpoints that are computed instead of read: masks and rotary tables. */
const derivedTensors = /(^|\.)(attn\.(masked_)?bias|rotary_emb\.inv_freq)$/;

/** Tensors matched with an architecture. */
interface MatchedTensors {
  /** The shape of the model; without a tied head if the stored head differs from the embedding. */
  readonly shape: DecoderShape;
  /** The stored tensor's name for each parameter. */
  readonly stored: ReadonlyMap<string, string>;
  readonly problems: readonly MismatchProblem[];
}

interface MismatchProblem extends Problem {
  readonly code: 'MODEL_TENSOR_MISSING' | 'MODEL_TENSOR_SHAPE' | 'MODEL_TENSOR_UNKNOWN';
}

/**
 * Matches the tensors of a model's files with its parameters. Checkpoints of the base model without a head lack the
 * prefix (`h.0…` for `transformer.h.0…`). As in transformers, the embedding of a model with a tied head may be stored
 * under the name of the head, and a stored head that differs from the embedding is not tied.
 */
async function matchTensors(folder: string, written: DecoderShape, reader: TensorReader): Promise<MatchedTensors> {
  const { tensors } = reader;
  const prefix = `${written.names.prefix}.`;
  const names = parameterShapes(written).flatMap(({ name }) => (name.startsWith(prefix) ? [name] : []));
  const lacksPrefix =
    !names.some((name) => tensors.has(name)) && names.some((name) => tensors.has(name.slice(prefix.length)));
  const storedName = (name: string): string =>
    lacksPrefix && name.startsWith(prefix) ? name.slice(prefix.length) : name;
  const embedding = storedName(`${embeddingName(written)}.weight`);
  const head = `${HEAD_NAME}.weight`;
  const isTiedByFile = !tensors.has(head) || !tensors.has(embedding) || (await areEqual(reader, embedding, head));
  const shape = { ...written, tiedHead: written.tiedHead && isTiedByFile };
  const takesHead = shape.tiedHead && !tensors.has(embedding) && tensors.has(head);

  const problems: MismatchProblem[] = [];
  const stored = new Map<string, string>();
  for (const { name, shape: expected } of parameterShapes(shape)) {
    const inFile = takesHead && storedName(name) === embedding ? head : storedName(name);
    const entry = tensors.get(inFile);
    if (entry === undefined) {
      problems.push({
        code: 'MODEL_TENSOR_MISSING',
        message: 'The tensor is missing.',
        place: { file: folder, tensor: inFile },
        expected: `shape [${expected.join(', ')}]`,
      });
    } else if (!sameShape(entry.shape, expected)) {
      problems.push({
        code: 'MODEL_TENSOR_SHAPE',
        message: 'The shape of the tensor does not match the model.',
        place: { file: reader.fileOf(inFile), tensor: inFile },
        expected: `[${expected.join(', ')}]`,
        found: `[${entry.shape.join(', ')}]`,
      });
    }
    stored.set(name, inFile);
  }
  const known = new Set([...stored.values(), ...(shape.tiedHead ? [head] : [])]);
  for (const name of tensors.keys())
    if (!known.has(name) && !derivedTensors.test(name))
      problems.push({
        code: 'MODEL_TENSOR_UNKNOWN',
        message: 'The architecture does not have this tensor.',
        place: { file: reader.fileOf(name), tensor: name },
      });
  return { shape, stored, problems };
}

/** Returns whether two tensors of a file contain equal numbers. */
async function areEqual(reader: TensorReader, one: string, other: string): Promise<boolean> {
  const [first, second] = [reader.tensors.get(one), reader.tensors.get(other)];
  if (first === undefined || second === undefined || !sameShape(first.shape, second.shape)) return false;
  if (first.dtype !== second.dtype) {
    const [a, b] = [await reader.readFloat32(one), await reader.readFloat32(other)];
    return a.every((value, index) => value === b[index]);
  }
  const [a, b] = [first, second].map(({ begin, end }) => Buffer.allocUnsafe(end - begin));
  if (a === undefined || b === undefined) return false;
  await reader.readBytesInto(one, a);
  await reader.readBytesInto(other, b);
  return a.equals(b);
}

const withoutCode = ({ message, place, expected, found }: MismatchProblem): Problem => ({
  message,
  place,
  expected,
  found,
});

/** Returns the error for tensors that do not match the architecture; lists all of them. */
function mismatchError(folder: string, shape: DecoderShape, problems: readonly MismatchProblem[]): WhetstoneError {
  const codes = ['MODEL_TENSOR_MISSING', 'MODEL_TENSOR_SHAPE', 'MODEL_TENSOR_UNKNOWN'] as const;
  const ordered = codes.flatMap((code) => problems.filter((problem) => problem.code === code));
  const [first] = ordered;
  return new WhetstoneError(
    first?.code ?? 'INTERNAL',
    ordered.length === 1 && first !== undefined
      ? first.message
      : `${ordered.length} tensors do not match the ${shape.architecture} model that config.json describes.`,
    {
      ...(ordered.length === 1 && first !== undefined
        ? { place: first.place, expected: first.expected, found: first.found }
        : { place: { file: folder }, problems: ordered.map(withoutCode) }),
      hint: 'Check that config.json and the weights belong to the same model.',
    },
  );
}

const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((size, axis) => size === b[axis]);
