import type { FileHandle } from 'node:fs/promises';
import { WhetstoneError } from '../contract/index.js';
import { fileError } from '../files/errors.js';
import { openRegular } from '../files/regular.js';
import { isNumeric, viewAs, widenInto, type TensorData } from '../dtypes.js';
import { headerLength, invalidFile, parseHeader, type SafetensorsHeader, type TensorEntry } from './header.js';
import { bytesOf, sizeOfShape } from '../util/index.js';

/** Reads single tensors of a file, or of all shards in a folder. */
export interface TensorReader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
  /** Returns the file that contains a tensor, for error messages. */
  fileOf(name: string): string;
  /**
   * Returns the numbers of a tensor as float32. F16 and BF16 are converted exactly. Reads only the bytes of the tensor.
   */
  readFloat32(name: string): Promise<Float32Array>;
  /** Reads the numbers of a tensor as float32 into `target`. Needs only a small buffer of additional memory. */
  readFloat32Into(name: string, target: Float32Array): Promise<void>;
  /** Reads the bytes of a tensor into `target`, without conversion. */
  readBytesInto(name: string, target: Uint8Array): Promise<void>;
  /** Returns the elements of a tensor without conversion: F16, BF16 and F8 as bit patterns. */
  read(name: string): Promise<TensorData>;
  close(): Promise<void>;
}

const CHUNK_BYTES = 8 * 1024 * 1024;

/**
 * Opens a safetensors file and checks its header. Tensors are read on demand.
 *
 * @throws `SAFETENSORS_INVALID` if the header is invalid
 * @throws `FILE_NOT_FOUND` if the file does not exist
 */
export async function openSafetensors(file: string): Promise<TensorReader> {
  let handle: FileHandle;
  try {
    handle = await openRegular(file);
  } catch (cause) {
    throw fileError(cause, file);
  }
  try {
    const header = await readHeader(file, handle).catch((cause: unknown) => {
      throw fileError(cause, file);
    });
    return readerOf(file, handle, header);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readHeader(file: string, handle: FileHandle): Promise<SafetensorsHeader> {
  const stat = await handle.stat();
  const prefix = new Uint8Array(8);
  const { bytesRead } = await handle.read(prefix, 0, 8, 0);
  const length = headerLength(file, prefix.subarray(0, bytesRead), stat.size);
  const bytes = new Uint8Array(length);
  await readExactly(file, handle, bytes, 8);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw invalidFile(file, 'The header is not UTF-8 text.');
  }
  return parseHeader(file, text, 8 + length, stat.size);
}

function readerOf(file: string, handle: FileHandle, { tensors, metadata }: SafetensorsHeader): TensorReader {
  const entryOf = (name: string): TensorEntry => {
    const entry = tensors.get(name);
    if (entry === undefined)
      throw new WhetstoneError('MODEL_TENSOR_MISSING', 'The file does not contain the tensor.', {
        place: { file, tensor: name },
      });
    return entry;
  };
  return {
    tensors,
    metadata,
    fileOf: () => file,
    async read(name) {
      const { dtype, begin, end } = entryOf(name);
      const bytes = new Uint8Array(end - begin);
      await readExactly(file, handle, bytes, begin, name);
      return viewAs(dtype, bytes);
    },
    async readFloat32(name) {
      const result = new Float32Array(sizeOfShape(entryOf(name).shape));
      await readFloat32Into(name, result);
      return result;
    },
    readFloat32Into,
    async readBytesInto(name, target) {
      const { begin, end } = entryOf(name);
      if (target.byteLength !== end - begin)
        throw new WhetstoneError('INTERNAL', 'The size of the target differs from that of the tensor.', {
          expected: `${end - begin} bytes`,
          found: String(target.byteLength),
        });
      await readExactly(file, handle, target, begin, name);
    },
    close: () => handle.close(),
  };

  async function readFloat32Into(name: string, result: Float32Array): Promise<void> {
    const { dtype, begin, end } = entryOf(name);
    if (!isNumeric(dtype)) {
      throw new WhetstoneError('SAFETENSORS_INVALID', `Tensors of dtype ${dtype} cannot be read as numbers.`, {
        place: { file, tensor: name },
      });
    }
    if (dtype === 'F32') return readExactly(file, handle, bytesOf(result), begin, name);
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, end - begin));
    const elementBytes = result.length === 0 ? 1 : (end - begin) / result.length;
    for (let position = begin; position < end; position += chunk.byteLength) {
      const bytes = chunk.subarray(0, Math.min(chunk.byteLength, end - position));
      await readExactly(file, handle, bytes, position, name);
      widenInto(result, (position - begin) / elementBytes, dtype, bytes);
    }
  }
}

/** Fills `target` with the bytes from `position` on. Uses several calls, because one call reads at most 2 GiB. */
async function readExactly(
  file: string,
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  tensor?: string,
): Promise<void> {
  let done = 0;
  while (done < target.byteLength) {
    const { bytesRead } = await handle
      .read(target, done, Math.min(target.byteLength - done, 1 << 30), position + done)
      .catch((cause: unknown) => {
        throw fileError(cause, file);
      });
    if (bytesRead === 0) {
      throw new WhetstoneError('SAFETENSORS_INVALID', 'The file is shorter than its header says.', {
        place: { file, tensor },
      });
    }
    done += bytesRead;
  }
}

/** Names that wrappers of a model insert into the names of its tensors when it is saved. */
const wrappers = new Set([
  '_orig_mod',
  'module',
  '_fsdp_wrapped_module',
  '_checkpoint_wrapped_module',
  '_forward_module',
]);

/**
 * Returns a reader without the names of wrappers that a save left in the names of tensors: torch.compile
 * (`_orig_mod.`), data parallelism (`module.`), FSDP and checkpointing. A name stays as it is if the file also contains
 * the shorter name.
 *
 * @param owner whose tensors they are, for the message
 * @param onNotice receives a message that names what was removed
 */
export function withoutWrappers(
  reader: TensorReader,
  onNotice: (message: string) => void,
  owner: 'model' | 'adapter' = 'model',
): TensorReader {
  const storedNames = new Map<string, string>();
  const removed = new Set<string>();
  for (const name of reader.tensors.keys()) {
    const segments = name.split('.');
    const short = segments.filter((segment) => !wrappers.has(segment)).join('.');
    const isTaken = short !== name && (reader.tensors.has(short) || storedNames.has(short));
    storedNames.set(isTaken ? name : short, name);
    if (!isTaken) for (const segment of segments) if (wrappers.has(segment)) removed.add(`${segment}.`);
  }
  if (removed.size === 0) return reader;
  onNotice(
    `The names of the ${owner}'s tensors contain ${[...removed].join(' and ')}, which a wrapper of the model adds ` +
      'when it is saved. They are read without it.',
  );
  return renamed(reader, storedNames);
}

/**
 * Returns a reader without a prefix that the names of all tensors share: that of a module which contains the model,
 * such as `model.` of a LightningModule (`model.model.layers…`). Reads the names as they are if some of them are
 * expected, or if a tensor lies outside of that module.
 *
 * @param expected names of tensors of the model
 * @param onNotice receives a message that names the prefix
 */
export function withoutPrefix(
  reader: TensorReader,
  expected: readonly string[],
  onNotice: (message: string) => void,
): TensorReader {
  const stored = [...reader.tensors.keys()];
  if (expected.some((name) => reader.tensors.has(name))) return reader;
  const prefix = prefixOf(stored, expected);
  if (prefix === '' || !stored.every((name) => name.startsWith(prefix))) return reader;
  onNotice(
    `The names of all tensors of the model start with ${prefix}, the name of a module that contained the model when ` +
      'it was saved. They are read without it.',
  );
  return renamed(reader, new Map(stored.map((name) => [name.slice(prefix.length), name])));
}

/** What PEFT puts before the name of a module. */
const peftPrefix = 'base_model.model.';

/**
 * Returns a reader in which PEFT's prefix of the tensors of an adapter is the first part of their names, and occurs
 * once: it is repeated if an adapted model was wrapped again, and not the first if another module contained it.
 *
 * @param onNotice receives a message that names what was removed
 */
export function withOnePeftPrefix(reader: TensorReader, onNotice: (message: string) => void): TensorReader {
  const storedNames = new Map<string, string>();
  const removed = new Set<string>();
  for (const name of reader.tensors.keys()) {
    const start = Math.max(0, name.lastIndexOf(peftPrefix));
    const short = name.slice(start);
    const isTaken = start > 0 && (reader.tensors.has(short) || storedNames.has(short));
    storedNames.set(isTaken ? name : short, name);
    if (!isTaken && start > 0) removed.add(name.slice(0, start));
  }
  if (removed.size === 0) return reader;
  onNotice(
    `The names of the adapter's tensors start with ${[...removed].join(' and ')} before ${peftPrefix}, as if the ` +
      'adapted model was contained in another module. They are read without it.',
  );
  return renamed(reader, storedNames);
}

/** Returns what stands before the first expected name with which a stored name ends; empty if there is none. */
function prefixOf(stored: readonly string[], expected: readonly string[]): string {
  for (const name of expected) {
    const found = stored.find((one) => one.endsWith(`.${name}`));
    if (found !== undefined) return found.slice(0, -name.length);
  }
  return '';
}

/** Returns a reader of tensors under other names. `storedNames`: the name in the file, by the other name. */
function renamed(reader: TensorReader, storedNames: ReadonlyMap<string, string>): TensorReader {
  const stored = (name: string): string => storedNames.get(name) ?? name;
  return {
    ...reader,
    tensors: new Map(
      [...storedNames].flatMap(([short, name]) => {
        const entry = reader.tensors.get(name);
        return entry === undefined ? [] : [[short, { ...entry, name: short }] as const];
      }),
    ),
    fileOf: (name) => reader.fileOf(stored(name)),
    readFloat32: async (name) => reader.readFloat32(stored(name)),
    readFloat32Into: async (name, target) => reader.readFloat32Into(stored(name), target),
    readBytesInto: async (name, target) => reader.readBytesInto(stored(name), target),
    read: async (name) => reader.read(stored(name)),
  };
}
