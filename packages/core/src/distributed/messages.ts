import { errorCodes, type ErrorCode } from '../contract/error-codes.js';
import type { Json } from '../contract/json.js';
import { isNestedDeeper, isRecord } from '../util/index.js';

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
  /** Random text if the worker has the cluster's token. */
  readonly nonce?: string;
}

/** Messages to the chief. */
export type ToCoordinator =
  | Hello
  /** Answers a challenge. */
  | { readonly type: 'proof'; readonly proof: string }
  | { readonly type: 'gather'; readonly sequence: number; readonly what: string; readonly value: Json }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
  | { readonly type: 'allReduceStalled'; readonly message: string }
  | { readonly type: 'heartbeat' }
  | { readonly type: 'leave' };

/** Messages from the chief. */
export type FromCoordinator =
  /** Asks the worker to prove that it knows the token. */
  | { readonly type: 'challenge'; readonly nonce: string }
  /** The worker did; this proves that the chief knows the token, too. */
  | { readonly type: 'proven'; readonly proof: string }
  | {
      readonly type: 'welcome';
      readonly addresses: readonly string[];
      readonly sharingCores: readonly number[];
      /** See `TensorCluster`. */
      readonly localSecret?: string;
    }
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

export const PROTOCOL = 3;

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const isJson: Check = (value) => value !== undefined && !isNestedDeeper(value);
const isErrorCode: Check = (value) => typeof value === 'string' && Object.hasOwn(errorCodes, value);
const isListOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const isTextByName: Check = (value) => isRecord(value) && Object.values(value).every(isText);
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);

type Checks = Readonly<Record<string, Readonly<Record<string, Check>>>>;

/** The fields of each message, by type. */
const toCoordinator: Checks = {
  hello: {
    protocol: isCount,
    cluster: isText,
    rank: isCount,
    settings: isTextByName,
    cores: isText,
    address: isText,
    nonce: optional(isText),
  },
  proof: { proof: isText },
  gather: { sequence: isCount, what: isText, value: isJson },
  failed: { code: isErrorCode, message: isText },
  allReduceStalled: { message: isText },
  heartbeat: {},
  leave: {},
} satisfies Record<ToCoordinator['type'], Readonly<Record<string, Check>>>;

const fromCoordinator: Checks = {
  challenge: { nonce: isText },
  proven: { proof: isText },
  welcome: { addresses: isListOf(isText), sharingCores: isListOf(isCount), localSecret: optional(isText) },
  later: {},
  gathered: { sequence: isCount, values: isListOf(isJson) },
  lost: { code: isErrorCode, message: isText, details: (value) => isRecord(value) && isJson(value) },
  heartbeat: {},
  leave: {},
} satisfies Record<FromCoordinator['type'], Readonly<Record<string, Check>>>;

function isMessage(value: unknown, messages: Checks): boolean {
  if (!isRecord(value) || typeof value['type'] !== 'string' || !Object.hasOwn(messages, value['type'])) return false;
  return Object.entries(messages[value['type']] ?? {}).every(([name, check]) => check(value[name]));
}

/** Returns whether a value from the network is a message to the chief. */
export const isToCoordinator = (value: unknown): value is ToCoordinator =>
  isMessage(value, toCoordinator) || isForeignHello(value);

/** Returns whether a value from the network is a message from the chief. */
export const isFromCoordinator = (value: unknown): value is FromCoordinator => isMessage(value, fromCoordinator);

/** The hello of another version may have other fields. Its sender gets an answer that says so. */
const isForeignHello = (value: unknown): boolean =>
  isRecord(value) && value['type'] === 'hello' && isCount(value['protocol']) && value['protocol'] !== PROTOCOL;
