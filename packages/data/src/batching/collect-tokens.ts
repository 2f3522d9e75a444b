import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Conversation, TurnCounts } from '@whetstone/core/contract';
import type { NothingToLearnCause } from '../examples/tokenize.js';
import { mergeFindings, type SupervisionFindings } from '../proof/observe.js';
import { fingerprintAt } from '../parallel/fingerprints.js';
import type { LeakFindings, LeakWatch } from '../transforms/duplicates/leakage.js';
import { originAt } from '../transforms/duplicates/origin-list.js';
import { checkInterrupted } from './interrupted.js';
import type { SampleWithoutTargets } from './nothing-to-learn.js';
import { appendTraits, type SampleTraits } from './sample-traits.js';
import type { BatchSourceSummary } from './summary.js';
import { createTokenStore, type TokenStore, type TokenStoreOptions } from './token-store.js';
import type { TokenBlock, TokenizedBlock } from './tokenize-block.js';
import { mergeTurnCounts, noTurns } from './turn-counts.js';

/** Counts from tokenization; the source adds the rest of the summary. */
type Counts = Omit<BatchSourceSummary, 'files' | 'unreadable' | 'contentHash'>;

/** A tokenized data set with counts and findings. */
export interface Tokenized {
  readonly store: TokenStore;
  readonly counts: Counts;
  readonly contentHash: string;
  readonly withoutTargets: readonly SampleWithoutTargets[];
  readonly supervision: SupervisionFindings | null;
  readonly traits: SampleTraits;
  /** Conversations that are also in the evaluation data; null if none was given. */
  readonly leaks: LeakFindings | null;
}

/** Collects the blocks of a data set, in their order. */
export interface TokenCollector {
  /** Conversations so far. */
  readonly conversations: number;
  take(block: TokenBlock): void;
  result(): Tokenized;
}

export function createTokenCollector(watch: LeakWatch | null, options: TokenStoreOptions = {}): TokenCollector {
  const store = createTokenStore(options);
  const hash = createHash('sha256');
  const traits: SampleTraits = { groupNames: [], groups: [], difficulties: [], columns: [] };
  const withoutTargets: SampleWithoutTargets[] = [];
  let supervision: SupervisionFindings | null = null;
  let turns: TurnCounts = noTurns;
  let [conversations, truncated, tokens, supervisedTokens, longest] = [0, 0, 0, 0, 0];
  return {
    get conversations() {
      return conversations;
    },
    take(block) {
      conversations += block.conversations;
      truncated += block.truncated;
      hash.update(block.digests);
      for (const one of block.withoutTargets) withoutTargets.push(one);
      const weights = new Map(block.weights);
      let start = 0;
      for (const [number, length] of block.lengths.entries()) {
        const sample = store.add(
          block.ids.subarray(start, start + length),
          block.supervised.subarray(start, start + length),
          weights.get(number),
        );
        start += length;
        tokens += length;
        supervisedTokens += store.targetsOf(sample);
        longest = Math.max(longest, length);
      }
      appendTraits(traits, block.traits);
      turns = mergeTurnCounts(turns, block.turns);
      if (block.supervision)
        supervision = supervision === null ? block.supervision : mergeFindings(supervision, block.supervision);
      if (watch && block.index)
        for (let number = 0; number < block.index.fingerprints.hashes.length; number++)
          watch.look(fingerprintAt(block.index.fingerprints, number), originAt(block.index.origins, number));
    },
    result() {
      const withoutTargetsByCause: Partial<Record<NothingToLearnCause, number>> = {};
      for (const { cause } of withoutTargets) withoutTargetsByCause[cause] = (withoutTargetsByCause[cause] ?? 0) + 1;
      const counts: Counts = {
        conversations,
        truncated,
        withoutTargets: withoutTargets.length,
        withoutTargetsByCause,
        samples: store.samples,
        tokens,
        supervisedTokens,
        longest,
        turns,
      };
      return {
        store,
        counts,
        contentHash: hash.digest('hex'),
        withoutTargets,
        supervision,
        traits,
        leaks: watch?.findings ?? null,
      };
    },
  };
}

/** Conversations per block without worker threads: few, so that errors in the first ones are found early. */
const BLOCK_SIZE = 64;

/**
 * Tokenizes conversations on this thread, block by block.
 *
 * @throws any error of a conversation, after all conversations before it were collected
 * @throws `INTERRUPTED` if `signal` is aborted
 */
export async function tokenizeInOrder(
  conversations: AsyncIterable<Conversation> | Iterable<Conversation>,
  tokenize: (conversations: readonly Conversation[]) => TokenizedBlock,
  collector: TokenCollector,
  signal?: AbortSignal,
): Promise<void> {
  let waiting: Conversation[] = [];
  const flush = (): void => {
    const { block, failure } = tokenize(waiting);
    waiting = [];
    collector.take(block);
    if (failure) throw failure.error;
  };
  try {
    for await (const conversation of conversations) {
      if (waiting.push(conversation) < BLOCK_SIZE) continue;
      flush();
      // Lets timers and signals run between blocks.
      await setImmediate();
      checkInterrupted(signal);
    }
  } catch (error) {
    // Errors in earlier conversations come first.
    flush();
    throw error;
  }
  flush();
}
