import { totalmem } from 'node:os';
import { WhetstoneError } from '@whetstone/core/contract';
import { gigabytes, memoryHint } from '../engines/out-of-memory.js';
import { describeNode } from './graph.js';
import type { RecordedNode, Value } from './value.js';

/** What this machine has. TensorFlow would try for ten seconds before it says that it cannot have more. */
const memoryBytes = totalmem();

/** A result that the machine cannot hold is refused when its operation is recorded. */
export function refuseTooLarge(node: RecordedNode, output: Value): void {
  if (output.bytes > memoryBytes) throw new WhetstoneError('OUT_OF_MEMORY', `${describeNode(node)} would make ${gigabytes(output.bytes)}; this machine has ${gigabytes(memoryBytes)}.`, {
    hint: memoryHint,
    details: { bytes: output.bytes, totalBytes: memoryBytes },
  });
}
