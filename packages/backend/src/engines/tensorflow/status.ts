import { WhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { bytesAskedFor, gigabytes, memoryHint } from '../out-of-memory.js';
import type { Pointer, TensorflowLibrary } from './library.js';

const RESOURCE_EXHAUSTED = 8;

/** Names that compiled functions give their nodes, so that an error of TensorFlow's leads back to the operation: `step12`. */
export const nodeName = (step: number): string => `step${step}`;

const nodePattern = /\{\{node step(\d+)/;
const functionPattern = /\{\{function_node ([^}]+)\}\}/;

/** Which function and which of its steps a message of TensorFlow's names. */
export function namedIn(message: string): { readonly functionName: string; readonly step: number } | null {
  const functionName = functionPattern.exec(message)?.[1];
  const step = nodePattern.exec(message)?.[1];
  return functionName === undefined || step === undefined ? null : { functionName, step: Number(step) };
}

/** Turns a failed status into a WhetstoneError that names the operation. */
export function failure(code: number, message: string, operation: string | undefined): WhetstoneError {
  const errorCode: ErrorCode = code === RESOURCE_EXHAUSTED ? 'OUT_OF_MEMORY' : 'BACKEND_FAILED';
  const [firstLine = ''] = message.replace(/\{\{function_node [^}]*\}\} ?/g, '').split('\n');
  const where = operation === undefined ? 'TensorFlow failed' : `${operation} failed in TensorFlow`;
  const bytes = errorCode === 'OUT_OF_MEMORY' ? bytesAskedFor(message) : null;
  return new WhetstoneError(errorCode, `${where}: ${bytes === null ? '' : `${gigabytes(bytes)} more were needed. `}${firstLine}`, {
    ...(errorCode === 'OUT_OF_MEMORY' ? { hint: memoryHint } : {}),
    details: { ...(bytes === null ? {} : { bytes }), tensorflowCode: code, tensorflowMessage: message, ...(operation === undefined ? {} : { operation }) },
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

  /** The error of a failed call. */
  error(operation?: string): WhetstoneError {
    return failure(this.library.TF_GetCode(this.pointer), this.library.TF_Message(this.pointer), operation);
  }

  check(operation?: string): void {
    if (this.failed) throw this.error(operation);
  }

  dispose(): void {
    this.library.TF_DeleteStatus(this.pointer);
  }
}
