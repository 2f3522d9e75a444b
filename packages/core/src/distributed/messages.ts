import type { ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';

/** The first message of a worker. */
export interface Hello {
  readonly type: 'hello';
  /** Version of this protocol. */
  readonly protocol: number;
  /** Hash of the cluster's addresses. A worker with a different hash belongs to another cluster. */
  readonly cluster: string;
  readonly rank: number;
  /** Hashes of the settings that must be the same in all workers, by name. */
  readonly settings: Readonly<Record<string, string>>;
  /** Identifies the cores that the process uses: equal if two processes share them. */
  readonly cores: string;
  /** `host:port` at which the process serves its tensors. */
  readonly address: string;
}

/** Messages to the chief. */
export type ToCoordinator =
  | Hello
  | { readonly type: 'gather'; readonly sequence: number; readonly what: string; readonly value: Json }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'allReduceStalled'; readonly message: string }
  | { readonly type: 'heartbeat' }
  | { readonly type: 'leave' };

/** Messages from the chief. */
export type FromCoordinator =
  | { readonly type: 'welcome'; readonly addresses: readonly string[]; readonly sharingCores: readonly number[] }
  /** The previous run is still closing: connect again. */
  | { readonly type: 'later' }
  | { readonly type: 'gathered'; readonly sequence: number; readonly values: readonly Json[] }
  | {
      readonly type: 'lost';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, Json>>;
    }
  | { readonly type: 'heartbeat' }
  | { readonly type: 'leave' };

export const PROTOCOL = 2;
