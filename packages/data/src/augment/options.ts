import type { EndpointOptions } from './chat-endpoint.js';
import type { ParaphraseOptions } from './paraphrase.js';

export interface SynonymOptions {
  /** A file of the user's own; null for WordNet. */
  readonly dictionary: string | null;
  /** Further conversations made of each. */
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
  /** Drop an earlier exchange, merge two, join single exchanges of one topic. */
  readonly methods: readonly ('drop' | 'merge' | 'join')[];
  /** The chance that a conversation that can be changed is. */
  readonly rate: number;
  /** The column by which single exchanges are related. */
  readonly column: string;
  /** Exchanges of a joined conversation. */
  readonly turns: number;
}

export const defaultTurnOptions: TurnOptions = {
  methods: ['drop', 'merge', 'join'],
  rate: 0.5,
  column: 'topic',
  turns: 3,
};

export interface ParaphraseTransformOptions extends ParaphraseOptions, Omit<EndpointOptions, 'endpoint'> {
  /** Null: `model` is a model of this machine. */
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
