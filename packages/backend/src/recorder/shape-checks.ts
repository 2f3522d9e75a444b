import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../engines/out-of-memory.js';
import { describeNode } from './graph.js';
import type { RecordedNode, Value } from './value.js';

/** Memory of this machine. TensorFlow would try for ten seconds before it reports that there is not enough. */
const memoryBytes = totalmem();

/** Shapes are int32 on the device. */
const MAX_LENGTH = 2 ** 31 - 1;

const isWhole = (length: number): boolean => Number.isSafeInteger(length) && length >= 0;

/**
 * Checks a result when its operation is recorded.
 *
 * @throws `OUT_OF_MEMORY` if the machine cannot hold it
 * @throws `BACKEND_FAILED` if a length is not an integer
 */
export function checkResult(node: RecordedNode, output: Value): void {
  if (output.bytes > memoryBytes)
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `The result of ${describeNode(node)} needs ${gigabytes(output.bytes)}; this machine has ` +
        `${gigabytes(memoryBytes)}.`,
      {
        hint: memoryHint,
        details: { bytes: output.bytes, totalBytes: memoryBytes },
      },
    );
  const { shape } = output;
  for (let axis = 0; axis < shape.length; axis++) {
    const length = shape[axis] ?? 0;
    if (isWhole(length) && length <= MAX_LENGTH) continue;
    throw new WhetstoneError(
      'BACKEND_FAILED',
      `The result of ${describeNode(node)} has the invalid shape [${shape.join(', ')}].`,
      { expected: `whole numbers from 0 to ${MAX_LENGTH}`, found: String(length) },
    );
  }
}

/**
 * Checks values from the host before a native library gets them: some libraries would end the process.
 *
 * @throws `BACKEND_FAILED` if the shape is invalid or does not fit the number of values
 */
export function checkHostValues({ shape, size }: Value, count: number): void {
  const invalid = shape.find((length) => !isWhole(length));
  if (invalid !== undefined)
    throw new WhetstoneError('BACKEND_FAILED', `The shape [${shape.join(', ')}] is invalid.`, {
      expected: 'whole numbers from 0',
      found: String(invalid),
    });
  if (count !== size)
    throw new WhetstoneError(
      'BACKEND_FAILED',
      `A tensor of shape [${shape.join(', ')}] has the wrong number of values.`,
      { expected: `${size} numbers`, found: String(count) },
    );
}
