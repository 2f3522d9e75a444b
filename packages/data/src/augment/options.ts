import type { EndpointOptions } from './chat-endpoint.js';
import type { ParaphraseOptions } from './paraphrase.js';

export interface SynonymOptions {
  /** A dictionary file; null for WordNet. */
  readonly dictionary: string | null;
  /** Copies per conversation. */
  readonly copies: number;
  readonly rate: number;
  readonly roles: readonly string[];
  readonly protect: readonly string[];
}

export const defaultSynonymOptions: SynonymOptions = {
  dictionary: null,
  copies: 1,
  rate: 0.3,
  roles: ['user'],
  protect: [],
};

export interface TurnOptions {
  /** `drop` removes an earlier exchange, `merge` combines two, `join` joins single exchanges with the same topic. */
  readonly methods: readonly ('drop' | 'merge' | 'join')[];
  /** The probability that an eligible conversation is changed. */
  readonly rate: number;
  /** The column whose value relates single exchanges. */
  readonly column: string;
  /** Exchanges per joined conversation. */
  readonly turns: number;
}

export const defaultTurnOptions: TurnOptions = {
  methods: ['drop', 'merge', 'join'],
  rate: 0.5,
  column: 'topic',
  turns: 3,
};

export interface ParaphraseTransformOptions extends ParaphraseOptions, Omit<EndpointOptions, 'endpoint'> {
  /** Null if `model` is on this machine. */
  readonly endpoint: string | null;
  readonly roles: readonly string[];
  /** The share of conversations that are paraphrased. */
  readonly rate: number;
}

export const defaultParaphraseOptions: Omit<ParaphraseTransformOptions, 'endpoint' | 'model' | 'cacheFolder'> = {
  method: 'paraphrase',
  pivot: 'German',
  minSimilarity: 0.2,
  protect: [],
  roles: ['user'],
  rate: 1,
  apiKeyVariable: null,
  temperature: 0.7,
  attempts: 5,
  timeoutSeconds: 60,
  pauseSeconds: 0.5,
};
