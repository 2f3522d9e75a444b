import { WhetstoneError, type ErrorCode } from '@whetstone/core/contract';
import { bytesAskedFor, gigabytes, memoryHint } from '../out-of-memory.js';
import type { Pointer, TensorflowLibrary } from './library.js';

const RESOURCE_EXHAUSTED = 8;

/**
 * Names that compiled functions give their nodes, so that an error of TensorFlow's leads back to the operation:
 * `step12`.
 */
export const nodeName = (step: number): string => `step${step}`;

/** Names of the functions that a function calls. */
export const partName = (functionName: string, part: number): string => `${functionName}_part${part}`;

const nodePattern = /\[\[(?:\{\{node )?step(\d+)/g;
const functionPattern = /\{\{function_node ([^}]+?)(_part\d+)?\}\}/g;

/**
 * Which function and which step of its program a message of TensorFlow's names. Where a part fails, the message names
 * the step of the part first and the call last, and steps of a part count from its call.
 */
export function namedIn(message: string): { readonly functionName: string; readonly step: number } | null {
  const functions = [...message.matchAll(functionPattern)];
  const steps = [...message.matchAll(nodePattern)].map(([, step]) => Number(step));
  const functionName = functions[0]?.[1];
  const [step] = steps;
  if (functionName === undefined || step === undefined) return null;
  if (functions.every(([, , part]) => part === undefined)) return { functionName, step };
  const call = steps.length > 1 ? steps.at(-1) : undefined;
  return call === undefined ? null : { functionName, step: call + step };
}

/** Turns a failed status into a WhetstoneError that names the operation. */
export function failure(code: number, message: string, operation: string | undefined): WhetstoneError {
  const errorCode: ErrorCode = code === RESOURCE_EXHAUSTED ? 'OUT_OF_MEMORY' : 'BACKEND_FAILED';
  const [firstLine = ''] = message.replace(/\{\{function_node [^}]*\}\} ?/g, '').split('\n');
  const where = operation === undefined ? 'TensorFlow failed' : `${operation} failed in TensorFlow`;
  const bytes = errorCode === 'OUT_OF_MEMORY' ? bytesAskedFor(message) : null;
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
