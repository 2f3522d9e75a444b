import type { MessagePort } from 'node:worker_threads';
import type { ExchangeOptions } from './exchange.js';

/** Memory of float32 numbers outside of JavaScript. Whoever sends it keeps it until the answer. */
export interface Memory {
  readonly address: bigint;
  readonly bytes: number;
}

/** What the exchange's thread starts with. */
export interface ThreadData {
  readonly options: ExchangeOptions;
  readonly port: MessagePort;
  /** The number of answers, on which a blocked thread waits. */
  readonly answers: Int32Array;
}

export type ToThread =
  | { readonly type: 'sum'; readonly id: number; readonly inputs: readonly Memory[]; readonly sums: readonly Memory[] }
  | { readonly type: 'abort'; readonly reason: string };

export type FromThread =
  | { readonly type: 'opened' }
  | { readonly type: 'refused'; readonly message: string }
  | { readonly type: 'summed'; readonly id: number; readonly seconds: number }
  | { readonly type: 'failed'; readonly id: number; readonly message: string };
