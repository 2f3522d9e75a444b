import { WhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import type { Describe } from '../engine.js';
import type { Pointer, TensorflowLibrary } from './library.js';

const RESOURCE_EXHAUSTED = 8;

/** Names that compiled functions give their nodes, so that an error of TensorFlow's leads back to the operation: `step12`. */
export const nodeName = (step: number): string => `step${step}`;

const nodePattern = /\bstep(\d+)\b/;

/** Turns a failed status into a WhetstoneError that names the operation. */
export function failure(code: number, message: string, operation: string | undefined): WhetstoneError {
  const errorCode: ErrorCode = code === RESOURCE_EXHAUSTED ? 'OUT_OF_MEMORY' : 'BACKEND_FAILED';
  const [firstLine = ''] = message.split('\n');
  const where = operation === undefined ? 'TensorFlow failed' : `${operation} failed in TensorFlow`;
  return new WhetstoneError(errorCode, `${where}: ${firstLine}`, {
    ...(errorCode === 'OUT_OF_MEMORY' ? { hint: 'Lower the batch size or the maximum length.' } : {}),
    details: { tensorflowCode: code, tensorflowMessage: message, ...(operation === undefined ? {} : { operation }) },
  });
}

/** A reusable TF_Status. */
export class Status {
  readonly pointer: Pointer;

  constructor(private readonly library: TensorflowLibrary) {
    this.pointer = library.TF_NewStatus();
  }

  get failed(): boolean {
    return this.library.TF_GetCode(this.pointer) !== 0;
  }

  /** The error of a failed call. `describe` is asked for the operation that the message names. */
  error(operation?: string, describe?: Describe): WhetstoneError {
    const message = this.library.TF_Message(this.pointer);
    const named = describe === undefined ? null : nodePattern.exec(message);
    const step = named?.[1] === undefined ? undefined : Number(named[1]);
    return failure(this.library.TF_GetCode(this.pointer), message, step === undefined || describe === undefined ? operation : describe(step));
  }

  check(operation?: string, describe?: Describe): void {
    if (this.failed) throw this.error(operation, describe);
  }

  dispose(): void {
    this.library.TF_DeleteStatus(this.pointer);
  }
}
