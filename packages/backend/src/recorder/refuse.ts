import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../engines/out-of-memory.js';
import { describeNode } from './graph.js';
import type { RecordedNode, Value } from './value.js';

/** What this machine has. TensorFlow would try for ten seconds before it says that it cannot have more. */
const memoryBytes = totalmem();

/** Shapes are numbers of 32 bits where they are computed with. */
const LONGEST = 2 ** 31 - 1;

const isWhole = (length: number): boolean => Number.isSafeInteger(length) && length >= 0;

/**
 * A result that cannot be is refused when its operation is recorded: one with a side that is no length, or that the
 * machine cannot hold.
 */
export function refuseImpossible(node: RecordedNode, output: Value): void {
  if (output.bytes > memoryBytes)
    throw new WhetstoneError(
      'OUT_OF_MEMORY',
      `${describeNode(node)} would make ${gigabytes(output.bytes)}; this machine has ${gigabytes(memoryBytes)}.`,
      {
        hint: memoryHint,
        details: { bytes: output.bytes, totalBytes: memoryBytes },
      },
    );
  const { shape } = output;
  for (let axis = 0; axis < shape.length; axis++) {
    const length = shape[axis] ?? 0;
    if (isWhole(length) && length <= LONGEST) continue;
    throw new WhetstoneError(
      'BACKEND_FAILED',
      `${describeNode(node)} would make a tensor of shape [${shape.join(', ')}].`,
      { expected: `whole numbers from 0 to ${LONGEST}`, found: String(length) },
    );
  }
}

/** Numbers from the host that are no tensor are refused before a library sees them: some end the process. */
export function refuseMisshapen({ shape, size }: Value, count: number): void {
  const wrong = shape.find((length) => !isWhole(length));
  if (wrong !== undefined)
    throw new WhetstoneError('BACKEND_FAILED', `There is no tensor of shape [${shape.join(', ')}].`, {
      expected: 'whole numbers, none below 0',
      found: String(wrong),
    });
  if (count !== size)
    throw new WhetstoneError('BACKEND_FAILED', `A tensor of shape [${shape.join(', ')}] was not given its numbers.`, {
      expected: `${size} numbers`,
      found: String(count),
    });
}
