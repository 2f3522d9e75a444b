import { createHash } from 'node:crypto';
import type { ChatRenderer, Conversation, DataSource, Json, Tokenizer } from '@whetstone/core/contract';
import { countTargets, createTokenize, type NothingToLearnCause } from '../examples/tokenize.js';
import { truncate } from '../examples/truncate.js';
import { createSupervisionObserver, type SupervisionFindings } from '../proof/observe.js';
import { cacheFolderOf } from './cache-key.js';
import { causeOf, type SampleWithoutTargets } from './nothing-to-learn.js';
import type { BatchOptions } from './options.js';
import { createTraitCollector, type SampleTraits } from './sample-traits.js';
import { openStore, saveStore } from './store-file.js';
import type { BatchSourceSummary } from './summary.js';
import { createTokenStore, type TokenStore } from './token-store.js';

export interface PrepareInputs {
  readonly source: DataSource;
  readonly tokenizer: Tokenizer;
  readonly renderer: ChatRenderer;
  /** A folder for tokenised data: where the same data was tokenised in the same way before, it is taken from there. Null or absent: no cache. */
  readonly cacheFolder?: string | null;
  /** Sees every conversation once, as it is read. */
  readonly onConversation?: (conversation: Conversation) => void;
}

/** What was counted while conversations were tokenised; what is known besides comes from the source. */
type Counts = Omit<BatchSourceSummary, 'files' | 'unreadable' | 'contentHash'>;

/** Everything read, tokenised and cut, and what was met on the way. */
export interface Prepared {
  readonly store: TokenStore;
  readonly summary: BatchSourceSummary;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
  readonly traits: SampleTraits;
}

interface Tokenized {
  readonly store: TokenStore;
  readonly counts: Counts;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
  readonly traits: SampleTraits;
}

/** What decides a conversation's tokens, as one line of text for the content hash: not where it stood, nor columns that nothing learns. */
const contentOf = ({ form, messages, tools }: Conversation): string => `${JSON.stringify([form, messages, tools ?? null])}\n`;

/** Strategies that split long samples over rows cut nothing off. */
const keptLength = ({ packing, packingStrategy, maxLength }: BatchOptions): number | null => (packing && packingStrategy !== 'bfd' ? null : maxLength);

async function tokenizeAll({ source, tokenizer, renderer }: PrepareInputs, options: BatchOptions, onRead: (conversation: Conversation) => void): Promise<Tokenized> {
  const store = createTokenStore();
  const tokenize = createTokenize({ tokenizer, renderer }, options);
  const observer = options.supervisionProof === 'off' ? null : createSupervisionObserver({ tokenizer, renderer });
  const collector = createTraitCollector(options);
  const withoutTargets: SampleWithoutTargets[] = [];
  let conversations = 0;
  let truncated = 0;
  let tokens = 0;
  let supervisedTokens = 0;
  let longest = 0;
  for await (const conversation of source.conversations()) {
    conversations++;
    onRead(conversation);
    const whole = tokenize(conversation);
    observer?.observe(conversation, whole);
    const sample = truncate(conversation, whole, keptLength(options), options.truncationMode, tokenize);
    if (sample.truncated) truncated++;
    const targets = countTargets(sample.learned);
    if (targets === 0) {
      withoutTargets.push({ origin: conversation.origin, cause: causeOf(conversation, whole, options) });
      if (options.samplesWithoutTargets !== 'keep' || sample.ids.length === 0) continue;
    }
    store.add(sample.ids, sample.learned, sample.weights);
    collector.add(conversation);
    tokens += sample.ids.length;
    supervisedTokens += targets;
    longest = Math.max(longest, sample.ids.length);
  }
  const withoutTargetsByCause: Partial<Record<NothingToLearnCause, number>> = {};
  for (const { cause } of withoutTargets) withoutTargetsByCause[cause] = (withoutTargetsByCause[cause] ?? 0) + 1;
  const counts: Counts = { conversations, truncated, withoutTargets: withoutTargets.length, withoutTargetsByCause, samples: store.samples, tokens, supervisedTokens, longest };
  return { store, counts, withoutTargets, supervision: observer?.findings() ?? null, traits: collector.traits };
}

function complete({ store, counts, withoutTargets, supervision, traits }: Tokenized, source: DataSource, contentHash: string): Prepared {
  return { store, withoutTargets, supervision, traits, summary: { ...counts, files: source.files, unreadable: [...source.unreadable], contentHash } };
}

/** Reads the whole source and hashes its contents: many times faster than tokenising it. */
async function hashContents({ source, onConversation }: PrepareInputs): Promise<string> {
  const hash = createHash('sha256');
  for await (const conversation of source.conversations()) {
    hash.update(contentOf(conversation));
    onConversation?.(conversation);
  }
  return hash.digest('hex');
}

/** Reads, renders, tokenises and cuts all conversations of a source, or takes what was made of the same ones before from the cache. */
export async function prepare(inputs: PrepareInputs, options: BatchOptions): Promise<Prepared> {
  const { source, tokenizer, cacheFolder = null, onConversation } = inputs;
  if (cacheFolder === null || tokenizer.hash === undefined) {
    const hash = createHash('sha256');
    const tokenized = await tokenizeAll(inputs, options, (conversation) => {
      hash.update(contentOf(conversation));
      onConversation?.(conversation);
    });
    return complete(tokenized, source, hash.digest('hex'));
  }
  const contentHash = await hashContents(inputs);
  const folder = cacheFolderOf(cacheFolder, { contentHash, tokenizerHash: tokenizer.hash, renderer: inputs.renderer, options });
  const cached = openStore(folder);
  if (cached) return complete({ store: cached.store, ...(cached.details as unknown as Omit<Tokenized, 'store'>) }, source, contentHash);
  const tokenized = await tokenizeAll(inputs, options, () => {});
  const { store, ...details } = tokenized;
  // What is an error now is one the next time, too: it is not worth a file.
  if (store.samples > 0) saveStore(folder, store, details as unknown as Json);
  return complete(tokenized, source, contentHash);
}
