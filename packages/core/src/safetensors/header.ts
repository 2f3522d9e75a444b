import { WhetstoneError, type Problem } from '../contract/index.js';
import { bytesPerElement, isSafetensorsDtype, type SafetensorsDtype } from '../dtypes.js';
import { isNestedDeeper, isRecord, MAX_JSON_DEPTH, messageOf, sizeOfShape } from '../util/index.js';

/** The position and type of a tensor in a file. Offsets are in bytes from the start of the file; `end` is exclusive. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The limit that the format defines. */
const MAXIMUM_HEADER_BYTES = 100_000_000;

/** Returns a `SAFETENSORS_INVALID` error for a file. */
export function invalidFile(file: string, message: string, found?: string, expected?: string): WhetstoneError {
  return new WhetstoneError('SAFETENSORS_INVALID', message, {
    place: { file },
    found,
    expected,
    hint: 'The file is corrupt or its download is incomplete: download it again.',
  });
}

/**
 * Returns the length of the header in bytes.
 *
 * @param prefix the first eight bytes of the file
 * @throws `SAFETENSORS_INVALID` if the length is larger than the file
 */
export function headerLength(file: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.byteLength < 8)
    throw invalidFile(
      file,
      'The file is too short to be a safetensors file.',
      `${fileBytes} bytes`,
      'at least 8 bytes',
    );
  const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true);
  const limit = Math.min(MAXIMUM_HEADER_BYTES, fileBytes - 8);
  if (length > BigInt(limit)) {
    throw invalidFile(file, 'The length of the header is too large.', `${length} bytes`, `at most ${limit} bytes`);
  }
  return Number(length);
}

/**
 * Parses the JSON header. Every dtype must be known, every size must match shape and dtype, and the tensors must fill
 * the file without gaps or overlaps.
 *
 * @throws `SAFETENSORS_INVALID` with all invalid tensors
 */
export function parseHeader(file: string, text: string, dataStart: number, fileBytes: number): SafetensorsHeader {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw invalidFile(file, `The header is not JSON: ${messageOf(cause)}.`);
  }
  if (isNestedDeeper(json)) throw invalidFile(file, `The header is nested more than ${MAX_JSON_DEPTH} levels deep.`);
  if (!isRecord(json)) throw invalidFile(file, 'The header is not a JSON object.');
  const problems: Problem[] = [];
  const tensors = new Map<string, TensorEntry>();
  const { __metadata__: rawMetadata, ...rest } = json;
  const metadata: Record<string, string> = {};
  if (isRecord(rawMetadata)) {
    for (const [key, value] of Object.entries(rawMetadata)) if (typeof value === 'string') metadata[key] = value;
  }
  for (const [name, value] of Object.entries(rest)) {
    const entry = parseEntry(name, value, dataStart);
    if (typeof entry === 'string') {
      problems.push({ message: entry, place: { file, tensor: name } });
    } else if (entry.end > fileBytes) {
      problems.push({
        message: 'The tensor ends beyond the end of the file.',
        place: { file, tensor: name },
        expected: `at most byte ${fileBytes}`,
        found: `byte ${entry.end}`,
      });
    } else {
      tensors.set(name, entry);
    }
  }
  if (problems.length === 0) problems.push(...layoutProblems(file, tensors, dataStart, fileBytes));
  if (problems.length > 0) {
    const [first] = problems;
    throw new WhetstoneError(
      'SAFETENSORS_INVALID',
      problems.length === 1 && first ? first.message : `${problems.length} tensors in the header are invalid.`,
      {
        place: problems.length === 1 && first?.place ? first.place : { file },
        ...(problems.length === 1 && first?.expected !== undefined ? { expected: first.expected } : {}),
        ...(problems.length === 1 && first?.found !== undefined ? { found: first.found } : {}),
        hint: 'The file is corrupt or its download is incomplete: download it again.',
        problems: problems.length === 1 ? [] : problems,
      },
    );
  }
  return { tensors, metadata };
}

/** Returns the entry of a tensor, or a message that says what is wrong with it. */
function parseEntry(name: string, value: unknown, dataStart: number): TensorEntry | string {
  if (!isRecord(value)) return 'The entry is not an object.';
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isSafetensorsDtype(dtype))
    return `The dtype ${JSON.stringify(dtype)} is unknown; known dtypes: ${Object.keys(bytesPerElement).join(', ')}.`;
  if (!Array.isArray(shape) || !shape.every(isSize)) return 'The shape is not a list of sizes.';
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize))
    return 'data_offsets is not a pair of byte offsets.';
  const [begin, end] = offsets as [number, number];
  const bytes = sizeOfShape(shape as number[]) * bytesPerElement[dtype];
  if (!Number.isSafeInteger(bytes)) return `The shape [${shape.join(', ')}] is too large.`;
  if (end - begin !== bytes)
    return `The shape [${shape.join(', ')}] of ${dtype} requires ${bytes} bytes, but the offsets span ${end - begin}.`;
  return { name, dtype, shape: shape as number[], begin: dataStart + begin, end: dataStart + end };
}

function layoutProblems(
  file: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  dataStart: number,
  fileBytes: number,
): Problem[] {
  const problems: Problem[] = [];
  let previous: TensorEntry | undefined;
  let position = dataStart;
  for (const entry of [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin < position) {
      problems.push({
        message: `The tensor overlaps ${previous?.name ?? 'the header'}.`,
        place: { file, tensor: entry.name },
      });
    } else if (entry.begin > position) {
      problems.push({
        message: `There are ${entry.begin - position} unused bytes before the tensor.`,
        place: { file, tensor: entry.name },
      });
    }
    position = Math.max(position, entry.end);
    previous = entry;
  }
  if (problems.length === 0 && position !== fileBytes) {
    problems.push({
      message: 'The file is longer than its tensors.',
      place: { file },
      expected: `${position} bytes`,
      found: `${fileBytes} bytes`,
    });
  }
  return problems;
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
