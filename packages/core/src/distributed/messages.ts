import type { ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';

/** What a process says of itself when it comes. */
export interface Hello {
  readonly type: 'hello';
  /** Version of this protocol. */
  readonly protocol: number;
  /** Hash of the cluster's addresses: whoever lacks it came to the wrong door. */
  readonly cluster: string;
  readonly rank: number;
  /** Hashes of what all have to agree on, by name. */
  readonly settings: Readonly<Record<string, string>>;
  /** Names the cores that it computes on: equal where two processes share them. */
  readonly cores: string;
  /** `host:port` where its tensors are served. */
  readonly address: string;
}

/** To the chief. */
export type ToCoordinator =
  | Hello
  | { readonly type: 'gather'; readonly sequence: number; readonly what: string; readonly value: Json }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'allReduceStalled'; readonly message: string }
  | { readonly type: 'heartbeat' }
  | { readonly type: 'leave' };

/** From the chief. */
export type FromCoordinator =
  | { readonly type: 'welcome'; readonly addresses: readonly string[]; readonly sharingCores: readonly number[] }
  /** The run before is not quite over: come again. */
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
