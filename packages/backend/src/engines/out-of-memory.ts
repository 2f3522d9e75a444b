/** What needs less memory, for programs that compute outside a run. A run replaces it by the options that it has. */
export const memoryHint =
  'Compute fewer or shorter rows at once, or store the weights in fewer bytes. Options of a run: ' +
  'training.perDeviceTrainBatchSize, data.maxLength, model.dtype, the strategy qlora.';

export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toPrecision(3)} GB`;

/** Bytes of an element, by TensorFlow's dtype names. */
const elementBytes: Readonly<Record<string, number>> = {
  float: 4,
  int32: 4,
  int64: 8,
  double: 8,
  half: 2,
  bfloat16: 2,
  bool: 1,
  uint8: 1,
  int8: 1,
};

const units: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** Returns how many bytes a failed allocation requested, or null. TensorFlow's messages name a shape, XLA's a size. */
export function requestedBytes(message: string): number | null {
  const tensor = /shape\[([\d,]*)\] and type (\w+)/.exec(message);
  const element = elementBytes[tensor?.[2] ?? ''];
  if (tensor !== null && element !== undefined)
    return (tensor[1] ?? '')
      .split(',')
      .filter(Boolean)
      .reduce((size, length) => size * Number(length), element);
  const plain = /allocat\w* (\d+) bytes/i.exec(message)?.[1];
  if (plain !== undefined) return Number(plain);
  const sized = /allocat\w* ([\d.]+)\s?([KMGT]?i?B)\b/i.exec(message);
  const unit = units[sized?.[2] ?? ''];
  return sized === null || unit === undefined ? null : Math.round(Number(sized[1]) * unit);
}

/** The status code of an exhausted resource; TensorFlow's and XLA's are the same. */
const RESOURCE_EXHAUSTED = 8;

/**
 * Returns whether a failed call lacked memory. XLA reports an allocation that fails while it prepares a computation as
 * an internal error, in these words.
 */
export const isOutOfMemory = (code: number, message: string): boolean =>
  code === RESOURCE_EXHAUSTED || /\bout of memory (?:while trying to allocate|allocating)\b/i.test(message);
