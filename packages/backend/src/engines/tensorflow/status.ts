import { WhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { gigabytes, isOutOfMemory, memoryHint, requestedBytes } from '../out-of-memory.js';
import type { Pointer, TensorflowLibrary } from './library.js';

/** Returns the node name of a step, from which an error message leads back to the operation: `step12`. */
export const nodeName = (step: number): string => `step${step}`;

/** Returns the name of a function that another one calls. */
export const calleeName = (functionName: string, callee: number): string => `${functionName}_callee${callee}`;

const nodePattern = /\[\[(?:\{\{node )?step(\d+)/g;
const functionPattern = /\{\{function_node ([^}]+?)(_callee\d+)?\}\}/g;

/**
 * Returns the function and the step that a TensorFlow message names, or null. If a called function fails, the message
 * names its step first and the call last. Its steps count from the call.
 */
export function failedStepIn(message: string): { readonly functionName: string; readonly step: number } | null {
  const functions = [...message.matchAll(functionPattern)];
  const steps = [...message.matchAll(nodePattern)].map(([, step]) => Number(step));
  const functionName = functions[0]?.[1];
  const [step] = steps;
  if (functionName === undefined || step === undefined) return null;
  if (functions.every(([, , callee]) => callee === undefined)) return { functionName, step };
  const call = steps.length > 1 ? steps.at(-1) : undefined;
  return call === undefined ? null : { functionName, step: call + step };
}

/** Returns the error of a failed status: `OUT_OF_MEMORY` or `BACKEND_FAILED`, with the operation. */
export function failure(code: number, message: string, operation: string | undefined): WhetstoneError {
  const errorCode: ErrorCode = isOutOfMemory(code, message) ? 'OUT_OF_MEMORY' : 'BACKEND_FAILED';
  const [firstLine = ''] = message.replace(/\{\{function_node [^}]*\}\} ?/g, '').split('\n');
  const where = operation === undefined ? 'TensorFlow failed' : `${operation} failed in TensorFlow`;
  const bytes = errorCode === 'OUT_OF_MEMORY' ? requestedBytes(message) : null;
  return new WhetstoneError(
    errorCode,
    `${where}: ${bytes === null ? '' : `${gigabytes(bytes)} more were needed. `}${firstLine}`,
    {
      ...(errorCode === 'OUT_OF_MEMORY' ? { hint: memoryHint } : {}),
      details: {
        ...(bytes === null ? {} : { bytes }),
        tensorflowCode: code,
        tensorflowMessage: message,
        ...(operation === undefined ? {} : { operation }),
      },
    },
  );
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

  /** Returns the error of a failed call. */
  error(operation?: string): WhetstoneError {
    return failure(this.library.TF_GetCode(this.pointer), this.library.TF_Message(this.pointer), operation);
  }

  /** @throws the error of a failed call */
  check(operation?: string): void {
    if (this.failed) throw this.error(operation);
  }

  dispose(): void {
    this.library.TF_DeleteStatus(this.pointer);
  }
}
